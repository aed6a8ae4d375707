// Package codec spells values as canonical JSON: one value, one spelling, in every language.
//
// Rule 1: UTF-8 without spaces, keys sorted by code point, escapes only where JSON asks for them.
// Rule 2: a double that is whole and below 2^53 is spelt as that number (1.0 is 1); negative zero is -0.0; every other double
// is its shortest digits, with an exponent outside 1e-4 … 1e16. Whole numbers of Go's integer types and of big.Int are digits.
// Rule 3: NaN, infinities, invalid UTF-8 and nesting beyond MaxDepth are refused, never repaired.
// Rule 4: structs are spelt by their json tags, and what encoding/json takes as Marshaler or TextMarshaler is taken here too. A nil
// slice is an empty list and a nil map an empty object, as languages expect that tell them from null.
//
// Reading is encoding/json, except that numbers inside an `any` are json.Number, which keeps their text and so loses nothing.
package codec

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxDepth is the deepest nesting of lists and objects that is written.
const MaxDepth = 100

const exact = 1 << 53

var (
	number  = reflect.TypeFor[json.Number]()
	errDeep = fmt.Errorf("expected nesting of at most %d levels, got a value nested deeper, or one that contains itself", MaxDepth)
)

// Marshal spells a Go value.
func Marshal(value any) ([]byte, error) {
	return appendValue(make([]byte, 0, 64), reflect.ValueOf(value), MaxDepth)
}

// Unmarshal reads one JSON value into what `into` points at.
func Unmarshal(data []byte, into any) error {
	switch into.(type) {
	case *int, *int64, *float64, *string, *bool, *struct{}: // most answers, for which a decoder would cost more than the reading
		return json.Unmarshal(data, into)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("expected one JSON value, got more after it")
	}
	return nil
}

// escapes finds the escapes of a JSON text, one after the other; a group is a surrogate without its other half.
var escapes = regexp.MustCompile(`\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)`)

// Canonical spells JSON text canonically; it is strict about what it reads.
func Canonical(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("expected JSON in UTF-8, got %.80q", text)
	}
	if bytes.Contains(text, []byte(`\u`)) { // encoding/json would repair them
		for _, escape := range escapes.FindAllSubmatch(text, -1) {
			if escape[1] != nil {
				return nil, fmt.Errorf("expected valid Unicode, got a lone surrogate in %.80q", text)
			}
		}
	}
	var value any
	if err := Unmarshal(text, &value); err != nil {
		return nil, fmt.Errorf("expected JSON, got %.80q: %w", text, err)
	}
	return Marshal(value)
}

func appendValue(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if !v.IsValid() {
		return append(dst, "null"...), nil
	}
	kind := v.Type()
	if kind.NumMethod() > 0 || (v.CanAddr() && kind.PkgPath() != "") {
		if own, err := ownSpelling(v); own != nil || err != nil {
			return append(dst, own...), err
		}
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case reflect.Float64:
		return appendFloat(dst, v.Float())
	case reflect.Float32:
		wide, _ := strconv.ParseFloat(strconv.FormatFloat(v.Float(), 'g', -1, 32), 64)
		return appendFloat(dst, wide)
	case reflect.String:
		if kind == number {
			return appendNumber(dst, v.String())
		}
		return appendText(dst, v.String())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(dst, "null"...), nil
		}
		if depth < -MaxDepth { // pointers that only lead to pointers
			return nil, errDeep
		}
		return appendValue(dst, v.Elem(), depth)
	case reflect.Slice, reflect.Array:
		return appendList(dst, v, depth-1)
	case reflect.Map:
		return appendMap(dst, v, depth-1)
	case reflect.Struct:
		return appendStruct(dst, v, depth-1)
	default:
		return nil, fmt.Errorf("expected data, got a %s; pass what it is made from, and make it again where it is used", kind)
	}
}

// ownSpelling is that of a value with a method for it; nil when it has none.
func ownSpelling(v reflect.Value) ([]byte, error) {
	if (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && v.IsNil() {
		return nil, nil
	}
	candidates := []reflect.Value{v}
	if v.CanAddr() {
		candidates = append(candidates, v.Addr())
	}
	for _, candidate := range candidates {
		switch value := candidate.Interface().(type) {
		case json.Marshaler:
			text, err := value.MarshalJSON()
			if err != nil {
				return nil, err
			}
			return Canonical(text)
		case encoding.TextMarshaler:
			text, err := value.MarshalText()
			if err != nil {
				return nil, err
			}
			return appendText(nil, string(text))
		}
	}
	return nil, nil
}

func appendList(dst []byte, v reflect.Value, depth int) (_ []byte, err error) {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return appendText(dst, base64.StdEncoding.EncodeToString(v.Bytes()))
	}
	if depth < 0 {
		return nil, errDeep
	}
	dst = append(dst, '[')
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendValue(dst, v.Index(i), depth); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

func appendMap(dst []byte, v reflect.Value, depth int) (_ []byte, err error) {
	entries := make([]entry, 0, v.Len())
	for pair := v.MapRange(); pair.Next(); {
		key, err := keyText(pair.Key())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, pair.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return appendEntries(dst, entries, depth)
}

func keyText(key reflect.Value) (string, error) {
	if key.Kind() == reflect.String {
		return key.String(), nil
	}
	if text, ok := key.Interface().(encoding.TextMarshaler); ok {
		spelt, err := text.MarshalText()
		return string(spelt), err
	}
	if key.CanInt() || key.CanUint() {
		return fmt.Sprint(key), nil
	}
	return "", fmt.Errorf("expected keys that are texts, got %s", key.Type())
}

type entry struct {
	key   string
	value reflect.Value
}

func appendEntries(dst []byte, entries []entry, depth int) (_ []byte, err error) {
	if depth < 0 {
		return nil, errDeep
	}
	dst = append(dst, '{')
	for i, pair := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendText(dst, pair.key); err != nil {
			return nil, err
		}
		if dst, err = appendValue(append(dst, ':'), pair.value, depth); err != nil {
			return nil, fmt.Errorf(".%s: %w", pair.key, err)
		}
	}
	return append(dst, '}'), nil
}

// ---- structs ---------------------------------------------------------------------------------------------------------------

type field struct {
	name                        string
	index                       []int
	omitEmpty, omitZero, quoted bool
}

var structs sync.Map // of reflect.Type to []field, sorted by name

// fieldsOf finds the fields that encoding/json would: embedded structs are flattened, and the shallowest of a name wins.
func fieldsOf(kind reflect.Type) []field {
	if known, ok := structs.Load(kind); ok {
		return known.([]field)
	}
	fields := flatten(kind, nil, nil)
	slices.SortStableFunc(fields, func(a, b field) int {
		return cmp.Or(strings.Compare(a.name, b.name), len(a.index)-len(b.index))
	})
	fields = slices.CompactFunc(fields, func(a, b field) bool { return a.name == b.name })
	structs.Store(kind, fields)
	return fields
}

func flatten(kind reflect.Type, within []int, outer []reflect.Type) (fields []field) {
	if slices.Contains(outer, kind) { // it embeds itself
		return nil
	}
	for i := range kind.NumField() {
		f, index := kind.Field(i), slices.Concat(within, []int{i})
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case tag == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			fields = append(fields, flatten(inner, index, slices.Concat(outer, []reflect.Type{kind}))...)
		case f.IsExported():
			has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
			fields = append(fields, field{cmp.Or(name, f.Name), index, has("omitempty"), has("omitzero"), has("string")})
		}
	}
	return fields
}

func appendStruct(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	var entries []entry
	for _, f := range fieldsOf(v.Type()) {
		value, err := v.FieldByIndexErr(f.index)
		if err != nil || (f.omitZero && value.IsZero()) || (f.omitEmpty && isEmpty(value)) {
			continue
		}
		if f.quoted {
			spelt, err := appendValue(nil, value, depth)
			if err != nil {
				return nil, fmt.Errorf(".%s: %w", f.name, err)
			}
			value = reflect.ValueOf(string(spelt))
		}
		entries = append(entries, entry{f.name, value})
	}
	return appendEntries(dst, entries, depth)
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return v.Kind() != reflect.Struct && v.IsZero()
}

// ---- texts and numbers -----------------------------------------------------------------------------------------------------

func appendText(dst []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("expected valid Unicode, got %.200q", text)
	}
	dst = append(dst, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		if place := strings.IndexByte("\"\\\b\f\n\r\t", c); place >= 0 {
			dst = append(dst, '\\', `"\bfnrt`[place])
		} else {
			dst = fmt.Appendf(dst, `\u%04x`, c)
		}
	}
	return append(append(dst, text[from:]...), '"'), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	switch size := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, fmt.Errorf("expected a finite number, got %v; JSON has no word for it", f)
	case f == 0 && math.Signbit(f):
		return append(dst, "-0.0"...), nil
	case f == math.Trunc(f) && size < exact:
		return strconv.AppendInt(dst, int64(f), 10), nil
	case size < 1e-4 || size >= 1e16:
		return strconv.AppendFloat(dst, f, 'e', -1, 64), nil
	case f == math.Trunc(f):
		return strconv.AppendFloat(dst, f, 'f', 1, 64), nil
	default:
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	}
}

func appendNumber(dst []byte, text string) ([]byte, error) {
	if text == "" || strings.Trim(text, "+-.eE0123456789") != "" || !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("expected a number, got %.60q", text)
	}
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			text = "0"
		}
		return append(dst, text...), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, err
	}
	return appendFloat(dst, f)
}
