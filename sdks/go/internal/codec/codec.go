// Package codec spells values as canonical JSON: one value, one spelling, in every language.
//
// Rule 1: UTF-8 without spaces, keys sorted by code point, escapes only where JSON asks for them.
// Rule 2: a double that is whole and below 2^53 is spelt as that number (1.0 is 1); negative zero is -0.0; every other double
// is its shortest digits, with an exponent outside 1e-4 … 1e16. Whole numbers of Go's integer types and of big.Int are digits.
// Rule 3: NaN, infinities, invalid UTF-8 and nesting beyond MaxDepth are refused, never repaired.
// Rule 4: structs are spelt by their json tags, and what encoding/json takes as Marshaler or TextMarshaler is taken here too. A nil
// slice is an empty list and a nil map an empty object, as languages expect that tell them from null.
//
// What the JSON of a Go value is, encoding/json/v2 says (here its mirror, for as long as Go 1.26 is supported); how that is spelt,
// this package does. Reading is encoding/json, except that numbers inside an `any` are json.Number, which keeps their text and so loses
// nothing.
package codec

import (
	"bytes"
	"encoding"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// MaxDepth is the deepest nesting of lists and objects that is written.
const MaxDepth = 100

const exact = 1 << 53

var (
	plain = json.JoinOptions(
		jsonv1.DefaultOptionsV1(), json.FormatNilSliceAsNull(false), json.FormatNilMapAsNull(false), jsontext.AllowInvalidUTF8(false),
		json.WithMarshalers(numbers),
	)
	numbers = json.JoinMarshalers(
		json.MarshalToFunc(func(to *jsontext.Encoder, f float64) error { return writeDouble(to, f, 64) }),
		json.MarshalToFunc(func(to *jsontext.Encoder, f float32) error { return writeDouble(to, float64(f), 32) }),
		json.MarshalToFunc(func(to *jsontext.Encoder, n stdjson.Number) error { return to.WriteValue(jsontext.Value(n)) }),
	)
	careful = json.JoinOptions(plain, json.WithMarshalers(json.JoinMarshalers(numbers, json.MarshalToFunc(writeNamed))))
	named   sync.Map // of reflect.Type to whether it may hold doubles of a type of their own
)

// writeDouble writes what would look like a whole number with more digits, or like 0; others are left to encoding/json.
func writeDouble(to *jsontext.Encoder, f float64, bits int) error {
	kind, written := to.StackIndex(to.StackDepth())
	switch {
	case kind == '{' && written%2 == 0: // encoding/json would not read it
		return fmt.Errorf("expected keys that are texts or whole numbers, got %v", f)
	case math.IsNaN(f) || math.IsInf(f, 0):
		return fmt.Errorf("expected a finite number, got %v; JSON has no word for it", f)
	case f != math.Trunc(f) || (math.Abs(f) < exact && (f != 0 || !math.Signbit(f))):
		return errors.ErrUnsupported
	}
	return to.WriteValue(strconv.AppendFloat(nil, f, 'e', -1, bits)) // with an exponent: a double, also where it is whole
}

// writeNamed is writeDouble for doubles of the author's types. It is asked about every value, which costs as much as the writing.
func writeNamed(to *jsontext.Encoder, at any) error {
	v := reflect.ValueOf(at).Elem()
	switch at.(type) {
	case stdjson.Marshaler, encoding.TextMarshaler:
		return errors.ErrUnsupported
	}
	if !v.CanFloat() {
		return errors.ErrUnsupported
	}
	return writeDouble(to, v.Float(), v.Type().Bits())
}

func optionsFor(kind reflect.Type) json.Options {
	known, ok := named.Load(kind)
	if !ok {
		known, _ = named.LoadOrStore(kind, mayHoldNamed(kind, map[reflect.Type]bool{}))
	}
	if known.(bool) {
		return careful
	}
	return plain
}

func mayHoldNamed(kind reflect.Type, met map[reflect.Type]bool) bool {
	if met[kind] {
		return false
	}
	met[kind] = true
	switch kind.Kind() {
	case reflect.Float32, reflect.Float64:
		return kind.PkgPath() != ""
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return mayHoldNamed(kind.Elem(), met)
	case reflect.Struct:
		for i := range kind.NumField() {
			if mayHoldNamed(kind.Field(i).Type, met) {
				return true
			}
		}
	}
	return kind.Kind() == reflect.Interface
}

// Marshal spells a Go value.
func Marshal(value any) ([]byte, error) { return spell(value, MaxDepth) }

// Enclose is Marshal for what holds values that were spelt before: around one of them it may be deeper than each may be.
func Enclose(value any) ([]byte, error) { return spell(value, 2*MaxDepth) }

func spell(value any, deepest int) ([]byte, error) {
	switch value := value.(type) { // most values, for which two passes would cost more than the spelling
	case nil:
		return []byte("null"), nil
	case bool:
		return strconv.AppendBool(nil, value), nil
	case int:
		return strconv.AppendInt(nil, int64(value), 10), nil
	case string:
		return jsontext.AppendQuote([]byte(nil), value)
	}
	text, err := json.Marshal(value, optionsFor(reflect.TypeOf(value)))
	if err != nil {
		return nil, err
	}
	return canonical(text, deepest)
}

// Unmarshal reads one JSON value into what `into` points at.
func Unmarshal(data []byte, into any) error {
	switch into.(type) {
	case *int, *int64, *float64, *string, *bool, *struct{}: // most answers, for which a decoder would cost more than the reading
		return stdjson.Unmarshal(data, into)
	}
	decoder := stdjson.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("expected one JSON value, got more after it")
	}
	return nil
}

// Canonical spells JSON text canonically; it is strict about what it reads. Of keys that are there twice the last counts.
func Canonical(text []byte) ([]byte, error) { return canonical(text, MaxDepth) }

func canonical(text []byte, deepest int) ([]byte, error) {
	from := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
	spelt, err := appendValue(make([]byte, 0, len(text)), from, deepest)
	if err != nil {
		return nil, fmt.Errorf("expected JSON, got %.80q: %w", text, err)
	}
	if _, err := from.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("expected one JSON value, got more after it in %.80q", text)
	}
	return spelt, nil
}

func appendValue(dst []byte, from *jsontext.Decoder, deepest int) ([]byte, error) {
	token, err := from.ReadToken()
	if err != nil {
		return nil, err
	}
	if from.StackDepth() > deepest {
		return nil, fmt.Errorf("expected nesting of at most %d levels, got a value nested deeper", deepest)
	}
	switch token.Kind() {
	case '"':
		return jsontext.AppendQuote(dst, token.String())
	case '0':
		return appendNumber(dst, token.String())
	case '[':
		return appendList(append(dst, '['), from, deepest)
	case '{':
		return appendObject(append(dst, '{'), from, deepest)
	}
	return append(dst, token.String()...), nil
}

func appendList(dst []byte, from *jsontext.Decoder, deepest int) (_ []byte, err error) {
	for i := 0; from.PeekKind() != ']'; i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendValue(dst, from, deepest); err != nil {
			return nil, err
		}
	}
	_, err = from.ReadToken()
	return append(dst, ']'), err
}

type member struct {
	name  string
	value []byte
}

func appendObject(dst []byte, from *jsontext.Decoder, deepest int) ([]byte, error) {
	members := make([]member, 0, 8)
	for from.PeekKind() != '}' {
		name, err := from.ReadToken()
		if err != nil {
			return nil, err
		}
		found := member{name: name.String()}
		if found.value, err = appendValue(nil, from, deepest); err != nil {
			return nil, err
		}
		members = append(members, found)
	}
	slices.SortStableFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for i, one := range members {
		if i+1 < len(members) && members[i+1].name == one.name {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst, _ = jsontext.AppendQuote(dst, one.name) // it was read as valid
		dst = append(append(dst, ':'), one.value...)
	}
	_, err := from.ReadToken()
	return append(dst, '}'), err
}

func appendNumber(dst []byte, text string) ([]byte, error) {
	if text == "-0" {
		text = "0"
	}
	if !strings.ContainsAny(text, ".eE") {
		return append(dst, text...), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	size, whole := math.Abs(f), f == math.Trunc(f)
	switch {
	case err != nil:
		return nil, err
	case f == 0 && math.Signbit(f):
		return append(dst, "-0.0"...), nil
	case whole && size < exact:
		return strconv.AppendInt(dst, int64(f), 10), nil
	case size < 1e-4 || size >= 1e16:
		return strconv.AppendFloat(dst, f, 'e', -1, 64), nil
	case whole:
		return strconv.AppendFloat(dst, f, 'f', 1, 64), nil
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
}
