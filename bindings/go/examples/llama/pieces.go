package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitPieces cuts text into the pieces that are encoded each on its own, by GPT-2's rule, written by hand
// because Go's expressions cannot look ahead:
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// With splitDigits every digit is a piece of its own, and what lies between digits a text of its own.
func splitPieces(text string, splitDigits bool) (pieces []string) {
	between := 0
	for at := 0; splitDigits && at < len(text); {
		c, size := utf8.DecodeRuneInString(text[at:])
		if unicode.IsNumber(c) {
			pieces = appendPieces(pieces, text[between:at])
			pieces = append(pieces, text[at:at+size])
			between = at + size
		}
		at += size
	}
	return appendPieces(pieces, text[between:])
}

func appendPieces(pieces []string, text string) []string {
	for text != "" {
		size := pieceLength(text)
		pieces = append(pieces, text[:size])
		text = text[size:]
	}
	return pieces
}

// pieceLength is the length of the piece that a text starts with.
func pieceLength(text string) int {
	for _, contraction := range []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if strings.HasPrefix(text, contraction) {
			return len(contraction)
		}
	}
	blank := 0
	if text[0] == ' ' && len(text) > 1 {
		blank = 1
	}
	first, _ := utf8.DecodeRuneInString(text[blank:])
	if kind := kindOf(first); !unicode.IsSpace(first) {
		return blank + lengthWhile(text[blank:], kind)
	}
	// White space up to the last one before a word: that one belongs to the word or stands alone.
	length := lengthWhile(text, unicode.IsSpace)
	_, last := utf8.DecodeLastRuneInString(text[:length])
	if length < len(text) && length > last {
		return length - last
	}
	return length
}

// kindOf is what a character and its neighbours in a piece have in common.
func kindOf(c rune) func(rune) bool {
	switch {
	case unicode.IsLetter(c):
		return unicode.IsLetter
	case unicode.IsNumber(c):
		return unicode.IsNumber
	}
	return func(c rune) bool { return !unicode.IsSpace(c) && !unicode.IsLetter(c) && !unicode.IsNumber(c) }
}

func lengthWhile(text string, is func(rune) bool) int {
	end := strings.IndexFunc(text, func(c rune) bool { return !is(c) })
	if end < 0 {
		return len(text)
	}
	return end
}
