package main

import (
	"container/heap"
	"fmt"
	"strings"
)

// Tables are what the files of a tokenizer say.
type Tables struct {
	// Vocabulary has tokens, spelled with GPT-2's visible characters for bytes.
	Vocabulary map[string]int
	// Merges are pairs of tokens that merge, the most important first.
	Merges [][2]string
	// Special tokens stand for themselves and are never made by merging.
	Special map[string]int
	// SplitDigits makes every digit a piece of its own.
	SplitDigits bool
	// IgnoreMerges: a piece that is a token as a whole is that token, whatever the merges say.
	IgnoreMerges bool
}

// BPE is byte-level byte-pair encoding, as GPT-2 introduced it.
type BPE struct {
	tables     Tables
	merges     map[[2]int]merge
	whole      map[string]int // by bytes; with IgnoreMerges only
	bytes      map[int]string // of every token
	byteTokens [256]int
}

type merge struct{ rank, result int }

const noToken = -1

// byteSpellings are the characters that GPT-2's vocabulary spells bytes with: printable ones stand for
// themselves, the others for characters from U+0100 on.
func byteSpellings() (spellings [256]rune) {
	next := rune(0x100)
	for b := range spellings {
		printable := b > 0x20 && b < 0x7f || b > 0xa0 && b != 0xad
		if spellings[b] = rune(b); !printable {
			spellings[b] = next
			next++
		}
	}
	return spellings
}

// NewBPE checks the tables. A byte without a token is left out when encoding.
func NewBPE(tables Tables) (*BPE, error) {
	b := &BPE{tables: tables, merges: map[[2]int]merge{}, whole: map[string]int{}, bytes: map[int]string{}}
	byteOf := map[rune]byte{}
	for value, spelling := range byteSpellings() {
		byteOf[spelling] = byte(value)
		b.byteTokens[value] = noToken
		if id, found := tables.Vocabulary[string(spelling)]; found {
			b.byteTokens[value] = id
		}
	}
	for rank, pair := range tables.Merges {
		var ids [3]int
		for i, token := range []string{pair[0], pair[1], pair[0] + pair[1]} {
			id, found := tables.Vocabulary[token]
			if !found {
				return nil, fmt.Errorf("the vocabulary lacks %q", token)
			}
			ids[i] = id
		}
		if _, known := b.merges[[2]int(ids[:2])]; !known {
			b.merges[[2]int(ids[:2])] = merge{rank, ids[2]}
		}
	}
	for spelling, id := range tables.Vocabulary {
		if _, special := tables.Special[spelling]; special {
			continue
		}
		var bytes []byte
		for _, c := range spelling {
			if value, known := byteOf[c]; known {
				bytes = append(bytes, value)
			}
		}
		b.bytes[id] = string(bytes)
		if tables.IgnoreMerges {
			b.whole[string(bytes)] = id
		}
	}
	return b, nil
}

// Decode gives the bytes of a token; one token may hold only a part of a character. Nothing for a special
// token, or one that is not in the vocabulary.
func (b *BPE) Decode(token int) string { return b.bytes[token] }

// Encode gives the tokens of a text. The names of special tokens in it become those tokens.
func (b *BPE) Encode(text string) (tokens []int) {
	plain := 0
	for at := 0; at < len(text); {
		longest := ""
		for name := range b.tables.Special {
			if len(name) > len(longest) && strings.HasPrefix(text[at:], name) {
				longest = name
			}
		}
		if longest == "" {
			at++
			continue
		}
		tokens = append(b.appendPlain(tokens, text[plain:at]), b.tables.Special[longest])
		at += len(longest)
		plain = at
	}
	return b.appendPlain(tokens, text[plain:])
}

func (b *BPE) appendPlain(tokens []int, text string) []int {
	// A byte that is no UTF-8 is a character of its own, of no kind that merges with words.
	for _, piece := range splitPieces(text, b.tables.SplitDigits) {
		tokens = b.appendPiece(tokens, piece)
	}
	return tokens
}

// symbol is a token of a piece under work, in a chain.
type symbol struct{ token, previous, next int }

// candidate is a pair of neighbours that may merge.
type candidate struct{ rank, left, leftToken, rightToken int }

// queue has the pair of lowest rank first, the leftmost of equals.
type queue []candidate

func (q queue) Len() int      { return len(q) }
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q queue) Less(i, j int) bool {
	return q[i].rank < q[j].rank || q[i].rank == q[j].rank && q[i].left < q[j].left
}
func (q *queue) Push(c any) { *q = append(*q, c.(candidate)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// appendPiece merges the pair of lowest rank until no pair merges any more.
func (b *BPE) appendPiece(tokens []int, piece string) []int {
	if id, known := b.whole[piece]; known {
		return append(tokens, id)
	}
	symbols := make([]symbol, len(piece))
	for i := range symbols {
		symbols[i] = symbol{b.byteTokens[piece[i]], i - 1, i + 1}
	}
	var pairs queue
	consider := func(left int) {
		if left < 0 || symbols[left].next >= len(symbols) {
			return
		}
		pair := [2]int{symbols[left].token, symbols[symbols[left].next].token}
		if found, merges := b.merges[pair]; merges {
			heap.Push(&pairs, candidate{found.rank, left, pair[0], pair[1]})
		}
	}
	for i := range symbols {
		consider(i)
	}
	for len(pairs) > 0 {
		best := heap.Pop(&pairs).(candidate)
		left := &symbols[best.left]
		// A candidate is stale once one of its two symbols has merged with another.
		if left.token != best.leftToken || left.next >= len(symbols) || symbols[left.next].token != best.rightToken {
			continue
		}
		right := &symbols[left.next]
		left.token = b.merges[[2]int{best.leftToken, best.rightToken}].result
		left.next, right.token = right.next, noToken
		if left.next < len(symbols) {
			symbols[left.next].previous = best.left
		}
		consider(left.previous)
		consider(best.left)
	}
	for i := 0; i < len(symbols); i = symbols[i].next {
		if symbols[i].token != noToken {
			tokens = append(tokens, symbols[i].token)
		}
	}
	return tokens
}
