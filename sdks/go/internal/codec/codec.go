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
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
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
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	number        = reflect.TypeFor[json.Number]()
	errDeep       = fmt.Errorf("expected nesting of at most %d levels, got a value nested deeper, or one that contains itself", MaxDepth)
)

// Marshal spells a Go value.
func Marshal(value any) ([]byte, error) {
	switch value := value.(type) { // what steps return most often, without reflection
	case nil:
		return []byte("null"), nil
	case string:
		return appendText(nil, value)
	case int:
		return strconv.AppendInt(nil, int64(value), 10), nil
	case bool:
		return strconv.AppendBool(nil, value), nil
	}
	return appendValue(make([]byte, 0, 64), reflect.ValueOf(value), MaxDepth)
}

// Unmarshal reads one JSON value into what `into` points at.
func Unmarshal(data []byte, into any) error {
	if !holdsAny(reflect.TypeOf(into)) {
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

func appendValue(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if !v.IsValid() {
		return append(dst, "null"...), nil
	}
	kind := v.Type()
	if kind.NumMethod() > 0 || (v.CanAddr() && kind.Name() != "") {
		if done, out, err := appendMarshaled(dst, v, depth); done {
			return out, err
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
		return appendList(dst, v, depth)
	case reflect.Map:
		return appendMap(dst, v, depth)
	case reflect.Struct:
		return appendStruct(dst, v, depth)
	default:
		return nil, fmt.Errorf("expected data, got a %s; pass what it is made from, and make it again where it is used", kind)
	}
}

// appendMarshaled spells what has a method of its own for it.
func appendMarshaled(dst []byte, v reflect.Value, depth int) (bool, []byte, error) {
	kind := v.Type()
	if (kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Interface) && v.IsNil() {
		return false, nil, nil
	}
	if v.CanAddr() && !kind.Implements(marshaler) && !kind.Implements(textMarshaler) {
		v = v.Addr()
		kind = v.Type()
	}
	if kind.Implements(marshaler) {
		text, err := v.Interface().(json.Marshaler).MarshalJSON()
		if err != nil {
			return true, nil, err
		}
		out, err := appendCanonical(dst, text, depth)
		return true, out, err
	}
	if kind.Implements(textMarshaler) {
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return true, nil, err
		}
		out, err := appendText(dst, string(text))
		return true, out, err
	}
	return false, nil, nil
}

func appendList(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return appendText(dst, base64.StdEncoding.EncodeToString(v.Bytes()))
	}
	if depth <= 0 {
		return nil, errDeep
	}
	dst = append(dst, '[')
	var err error
	for i := range v.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendValue(dst, v.Index(i), depth-1); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return append(dst, ']'), nil
}

type entry struct {
	key   string
	value reflect.Value
}

func appendMap(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth <= 0 {
		return nil, errDeep
	}
	entries := make([]entry, 0, v.Len())
	for pair := v.MapRange(); pair.Next(); {
		key, err := keyText(pair.Key())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, pair.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	dst = append(dst, '{')
	var err error
	for i, pair := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendText(dst, pair.key); err != nil {
			return nil, err
		}
		if dst, err = appendValue(append(dst, ':'), pair.value, depth-1); err != nil {
			return nil, fmt.Errorf(".%s: %w", pair.key, err)
		}
	}
	return append(dst, '}'), nil
}

func keyText(key reflect.Value) (string, error) {
	if key.Kind() == reflect.String {
		return key.String(), nil
	}
	if text, ok := key.Interface().(encoding.TextMarshaler); ok {
		spelt, err := text.MarshalText()
		return string(spelt), err
	}
	switch {
	case key.CanInt():
		return strconv.FormatInt(key.Int(), 10), nil
	case key.CanUint():
		return strconv.FormatUint(key.Uint(), 10), nil
	}
	return "", fmt.Errorf("expected keys that are texts, got %s", key.Type())
}

// ---- structs ---------------------------------------------------------------------------------------------------------------

type field struct {
	name                        string
	prefix                      []byte // its key and colon
	index                       []int
	omitEmpty, omitZero, quoted bool
	tagged                      bool
}

var structs sync.Map // of reflect.Type to []field, sorted by name

func fieldsOf(kind reflect.Type) []field {
	if known, ok := structs.Load(kind); ok {
		return known.([]field)
	}
	found, _ := structs.LoadOrStore(kind, collect(kind))
	return found.([]field)
}

// collect finds the fields that encoding/json would: embedded structs are flattened, the shallowest name wins, and of two at
// the same depth the tagged one, or none.
func collect(kind reflect.Type) []field {
	best := map[string][]field{}
	for _, f := range reflect.VisibleFields(kind) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("json") == "-" || !reachable(kind, f.Index) {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if (f.Anonymous && name == "" && inner.Kind() == reflect.Struct) || !f.IsExported() {
			continue
		}
		has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
		made := field{name: name, index: f.Index, omitEmpty: has("omitempty"), omitZero: has("omitzero"), quoted: has("string"), tagged: name != ""}
		if name == "" {
			made.name = f.Name
		}
		best[made.name] = append(best[made.name], made)
	}
	var fields []field
	for _, rivals := range best {
		if winner, ok := dominant(rivals); ok {
			winner.prefix, _ = appendText(nil, winner.name)
			winner.prefix = append(winner.prefix, ':')
			fields = append(fields, winner)
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields
}

// reachable says whether every struct on the way to a field is embedded without a name of its own.
func reachable(kind reflect.Type, index []int) bool {
	for depth := 1; depth < len(index); depth++ {
		outer := kind.FieldByIndex(index[:depth])
		if name, _, _ := strings.Cut(outer.Tag.Get("json"), ","); name != "" {
			return false
		}
	}
	return true
}

func dominant(rivals []field) (field, bool) {
	slices.SortStableFunc(rivals, func(a, b field) int {
		if len(a.index) != len(b.index) {
			return len(a.index) - len(b.index)
		}
		if a.tagged != b.tagged && a.tagged {
			return -1
		}
		return 0
	})
	if len(rivals) > 1 && len(rivals[0].index) == len(rivals[1].index) && rivals[0].tagged == rivals[1].tagged {
		return field{}, false
	}
	return rivals[0], true
}

func appendStruct(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if depth <= 0 {
		return nil, errDeep
	}
	dst = append(dst, '{')
	first := true
	for _, f := range fieldsOf(v.Type()) {
		value, err := v.FieldByIndexErr(f.index)
		if err != nil || (f.omitZero && value.IsZero()) || (f.omitEmpty && isEmpty(value)) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.prefix...)
		if f.quoted {
			spelt, err := appendValue(nil, value, depth-1)
			if err != nil {
				return nil, fmt.Errorf(".%s: %w", f.name, err)
			}
			dst, _ = appendText(dst, string(spelt))
			continue
		}
		if dst, err = appendValue(dst, value, depth-1); err != nil {
			return nil, fmt.Errorf(".%s: %w", f.name, err)
		}
	}
	return append(dst, '}'), nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}

var anywhere sync.Map // of reflect.Type to bool

// holdsAny says whether a value of this type may hold an `any`.
func holdsAny(kind reflect.Type) bool {
	if known, ok := anywhere.Load(kind); ok {
		return known.(bool)
	}
	found := searchAny(kind, map[reflect.Type]bool{})
	anywhere.Store(kind, found)
	return found
}

func searchAny(kind reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[kind] {
		return false
	}
	seen[kind] = true
	switch kind.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return searchAny(kind.Elem(), seen)
	case reflect.Struct:
		for i := range kind.NumField() {
			if searchAny(kind.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// ---- texts and numbers -----------------------------------------------------------------------------------------------------

const hex = "0123456789abcdef"

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
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"'), nil
}

func appendFloat(dst []byte, f float64) ([]byte, error) {
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, fmt.Errorf("expected a finite number, got %v; JSON has no word for it", f)
	case f == 0 && math.Signbit(f):
		return append(dst, "-0.0"...), nil
	case f == math.Trunc(f) && math.Abs(f) < exact:
		return strconv.AppendInt(dst, int64(f), 10), nil
	}
	if size := math.Abs(f); size < 1e-4 || size >= 1e16 {
		return strconv.AppendFloat(dst, f, 'e', -1, 64), nil
	}
	from := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !bytes.ContainsRune(dst[from:], '.') {
		dst = append(dst, ".0"...)
	}
	return dst, nil
}

func appendNumber(dst []byte, text string) ([]byte, error) {
	if !isNumber(text) {
		return nil, fmt.Errorf("expected a number, got %.60q", text)
	}
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return append(dst, '0'), nil
		}
		return append(dst, text...), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, err
	}
	return appendFloat(dst, f)
}

// isNumber says whether a text is a number as JSON spells it.
func isNumber(text string) bool {
	rest := strings.TrimPrefix(text, "-")
	digits := func() bool {
		trimmed := strings.TrimLeft(rest, "0123456789")
		took := len(trimmed) < len(rest)
		rest = trimmed
		return took
	}
	if strings.HasPrefix(rest, "0") {
		rest = rest[1:]
	} else if !digits() {
		return false
	}
	if after, ok := strings.CutPrefix(rest, "."); ok {
		if rest = after; !digits() {
			return false
		}
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		if !digits() {
			return false
		}
	}
	return rest == ""
}
