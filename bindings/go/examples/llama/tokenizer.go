package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Tokenizer turns text to tokens and back.
type Tokenizer interface {
	Encode(text string) []int
	Decode(token int) string
}

// byteTokenizer has one token per byte; what lies above 255 is special.
type byteTokenizer struct{}

func (byteTokenizer) Encode(text string) []int {
	tokens := make([]int, len(text))
	for i := range tokens {
		tokens[i] = int(text[i])
	}
	return tokens
}

func (byteTokenizer) Decode(token int) string {
	if token < 0 || token > 255 {
		return ""
	}
	return string([]byte{byte(token)})
}

// OpenTokenizer opens the tokenizer that lies beside a checkpoint: tokenizer.json or vocab.json and merges.txt
// (byte-level BPE), or, for a vocabulary of 256 to 260 tokens without such files, one token per byte. It also
// gives the token that a text starts with, where the model wants one.
func OpenTokenizer(files fs.FS, config *Config) (tokenizer Tokenizer, start []int, err error) {
	if tokenizer, err = readTokenizer(files, config); err != nil {
		return nil, nil, err
	}
	var settings struct {
		AddBOS bool `json:"add_bos_token"`
	}
	err = readJSON(files, "tokenizer_config.json", &settings)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if settings.AddBOS {
		start = []int{config.BOSToken}
	}
	return tokenizer, start, nil
}

func readTokenizer(files fs.FS, config *Config) (Tokenizer, error) {
	for _, known := range []struct {
		file string
		read func(fs.FS) (Tables, error)
	}{{"tokenizer.json", readTokenizerJSON}, {"vocab.json", readVocabAndMerges}} {
		if _, err := fs.Stat(files, known.file); err != nil {
			continue
		}
		tables, err := known.read(files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", known.file, err)
		}
		bpe, err := NewBPE(tables)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", known.file, err)
		}
		return bpe, nil
	}
	if config.VocabSize >= 256 && config.VocabSize <= 260 {
		return byteTokenizer{}, nil
	}
	return nil, errors.New("there is no tokenizer.json, and no vocab.json with merges.txt")
}

func readJSON(files fs.FS, name string, value any) error {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// component is a pre-tokenizer: a step, or a sequence of them.
type component struct {
	Type             string      `json:"type"`
	IndividualDigits bool        `json:"individual_digits"`
	Pretokenizers    []component `json:"pretokenizers"`
}

// mergePair is "left right" or ["left", "right"].
type mergePair [2]string

func (m *mergePair) UnmarshalJSON(text []byte) error {
	var line string
	if json.Unmarshal(text, &line) != nil {
		return json.Unmarshal(text, (*[2]string)(m))
	}
	return m.parse(line)
}

func (m *mergePair) parse(line string) error {
	left, right, found := strings.Cut(line, " ")
	if !found {
		return fmt.Errorf("no merge: %q", line)
	}
	*m = mergePair{left, right}
	return nil
}

func readTokenizerJSON(files fs.FS) (Tables, error) {
	var file struct {
		PreTokenizer component `json:"pre_tokenizer"`
		Model        struct {
			Type         string         `json:"type"`
			Vocabulary   map[string]int `json:"vocab"`
			Merges       []mergePair    `json:"merges"`
			IgnoreMerges bool           `json:"ignore_merges"`
		} `json:"model"`
		AddedTokens []struct {
			Content string `json:"content"`
			ID      int    `json:"id"`
		} `json:"added_tokens"`
	}
	if err := readJSON(files, "tokenizer.json", &file); err != nil {
		return Tables{}, err
	}
	tables := Tables{Vocabulary: file.Model.Vocabulary, IgnoreMerges: file.Model.IgnoreMerges, Special: map[string]int{}}
	steps := file.PreTokenizer.Pretokenizers
	if file.PreTokenizer.Type != "Sequence" {
		steps = []component{file.PreTokenizer}
	}
	byteLevel := false
	for _, step := range steps {
		switch step.Type {
		case "Digits":
			tables.SplitDigits = step.IndividualDigits
		case "ByteLevel":
			byteLevel = true
		default:
			return Tables{}, fmt.Errorf("pre_tokenizer %q is not known here", step.Type)
		}
	}
	if !byteLevel || file.Model.Type != "BPE" {
		return Tables{}, errors.New("only byte-level BPE is known here")
	}
	for _, pair := range file.Model.Merges {
		tables.Merges = append(tables.Merges, pair)
	}
	for _, token := range file.AddedTokens {
		tables.Special[token.Content] = token.ID
	}
	return tables, nil
}

// readVocabAndMerges reads the older files. They do not say which tokens are special: those of the form
// <...> that no merge makes are taken. Nor do they say whether digits stand alone: where they do, no token
// has two.
func readVocabAndMerges(files fs.FS) (Tables, error) {
	tables := Tables{Special: map[string]int{}, SplitDigits: true}
	if err := readJSON(files, "vocab.json", &tables.Vocabulary); err != nil {
		return Tables{}, err
	}
	text, err := fs.ReadFile(files, "merges.txt")
	if err != nil {
		return Tables{}, err
	}
	merged := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#version") {
			continue
		}
		var pair mergePair
		if err := pair.parse(line); err != nil {
			return Tables{}, fmt.Errorf("merges.txt: %w", err)
		}
		tables.Merges = append(tables.Merges, pair)
		merged[pair[0]+pair[1]] = true
	}
	for token, id := range tables.Vocabulary {
		if len(token) > 2 && token[0] == '<' && token[len(token)-1] == '>' && !merged[token] {
			tables.Special[token] = id
		}
		if len(token) > 1 && strings.Trim(token, "0123456789") == "" {
			tables.SplitDigits = false
		}
	}
	return tables, nil
}
