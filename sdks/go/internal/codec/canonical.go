package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Canonical spells JSON text canonically; it is strict about what it reads.
func Canonical(text []byte) ([]byte, error) {
	return appendCanonical(make([]byte, 0, len(text)), text, MaxDepth)
}

func appendCanonical(dst, text []byte, depth int) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("expected JSON in UTF-8, got %.80q", text)
	}
	r := reader{text: text}
	dst, err := r.value(dst, depth)
	if err != nil {
		return nil, err
	}
	if r.space(); r.at < len(text) {
		return nil, r.wrong("the end")
	}
	return dst, nil
}

// reader goes through JSON text once and writes it down again.
type reader struct {
	text []byte
	at   int
}

func (r *reader) wrong(expected string) error {
	return fmt.Errorf("expected %s at byte %d, got %.40q", expected, r.at, r.text[min(r.at, len(r.text)):])
}

func (r *reader) space() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// took goes on when the next character is this one.
func (r *reader) took(c byte) bool {
	if r.space(); r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *reader) value(dst []byte, depth int) ([]byte, error) {
	r.space()
	rest := r.text[r.at:]
	if len(rest) == 0 {
		return nil, r.wrong("a JSON value")
	}
	switch c := rest[0]; {
	case c == '{' && depth > 0:
		return r.object(dst, depth)
	case c == '[' && depth > 0:
		return r.list(dst, depth)
	case c == '{' || c == '[':
		return nil, errDeep
	case c == '"':
		text, err := r.string()
		if err != nil {
			return nil, err
		}
		return appendText(dst, text)
	case c == '-' || (c >= '0' && c <= '9'):
		end := bytes.IndexFunc(rest, func(c rune) bool { return !strings.ContainsRune("+-.eE0123456789", c) })
		if end < 0 {
			end = len(rest)
		}
		r.at += end
		return appendNumber(dst, string(rest[:end]))
	}
	for _, word := range []string{"null", "true", "false"} {
		if bytes.HasPrefix(rest, []byte(word)) {
			r.at += len(word)
			return append(dst, word...), nil
		}
	}
	return nil, r.wrong("a JSON value")
}

func (r *reader) list(dst []byte, depth int) (_ []byte, err error) {
	r.at++
	dst = append(dst, '[')
	for first := true; !(first && r.took(']')); first = false {
		if dst, err = r.value(dst, depth-1); err != nil {
			return nil, err
		}
		if r.took(']') {
			break
		}
		if !r.took(',') {
			return nil, r.wrong("a comma or ]")
		}
		dst = append(dst, ',')
	}
	return append(dst, ']'), nil
}

func (r *reader) object(dst []byte, depth int) ([]byte, error) {
	r.at++
	type pair struct {
		key   string
		value []byte
	}
	var pairs []pair
	for first := true; !(first && r.took('}')); first = false {
		if r.space(); r.at >= len(r.text) || r.text[r.at] != '"' {
			return nil, r.wrong("a key")
		}
		key, err := r.string()
		if err != nil {
			return nil, err
		}
		if !r.took(':') {
			return nil, r.wrong("a colon")
		}
		value, err := r.value(nil, depth-1)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{key, value})
		if r.took('}') {
			break
		}
		if !r.took(',') {
			return nil, r.wrong("a comma or }")
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	written := false
	for i, p := range pairs {
		if i+1 < len(pairs) && pairs[i+1].key == p.key {
			continue // the last one of a name counts
		}
		if written {
			dst = append(dst, ',')
		}
		written = true
		var err error
		if dst, err = appendText(dst, p.key); err != nil {
			return nil, err
		}
		dst = append(append(dst, ':'), p.value...)
	}
	return append(dst, '}'), nil
}

// string reads a text; escapes are left to encoding/json, but for the lone surrogates that it would repair.
func (r *reader) string() (string, error) {
	from := r.at
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			raw := r.text[from:r.at]
			if !bytes.ContainsRune(raw, '\\') {
				return string(raw[1 : len(raw)-1]), nil
			}
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return "", err
			}
			if strings.Count(text, "\uFFFD") != strings.Count(string(raw), "\uFFFD")+strings.Count(strings.ToLower(string(raw)), `\ufffd`) {
				return "", fmt.Errorf("expected valid Unicode, got a lone surrogate in %.80q", raw)
			}
			return text, nil
		case c == '\\':
			r.at++
		case c < 0x20:
			return "", r.wrong("no control character")
		}
	}
	return "", r.wrong("the end of a text")
}
