package codec

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Positional marks a struct whose fields are the arguments, one by one.
type Positional struct{}

// Arguments spells a value as the JSON array of arguments: its fields when it is marked as positional, nothing when it is an
// empty struct, else itself as the only one.
func Arguments[I any](value I) ([]byte, error) { return ArgumentsOf(reflect.ValueOf(&value).Elem()) }

// ArgumentsOf is Arguments where the type is known at run time only.
func ArgumentsOf(v reflect.Value) ([]byte, error) {
	dst, end := []byte{'['}, 1
	for i, p := range placesOf(v) {
		if i > 0 {
			dst = append(dst, ',')
		}
		spelt, err := Marshal(p.value.Interface())
		if err != nil {
			return nil, fmt.Errorf("%s%w", p.where(), err)
		}
		dst = append(dst, spelt...)
		if !p.omit || !p.value.IsZero() {
			end = len(dst)
		}
	}
	return append(dst[:end], ']'), nil
}

// ReadArguments is the way back. Arguments that were left out at the end stay as they are.
func ReadArguments(payload []byte, into any) error {
	var list []json.RawMessage
	named := struct {
		Args   []json.RawMessage
		Kwargs map[string]json.RawMessage
	}{}
	if err := json.Unmarshal(payload, &list); err != nil {
		if json.Unmarshal(payload, &named) != nil {
			return err
		}
		list = named.Args
	}
	places := placesOf(reflect.ValueOf(into).Elem())
	if len(list) > len(places) {
		return fmt.Errorf("expected %d arguments at most, got %d", len(places), len(list))
	}
	for i, raw := range list {
		if err := Unmarshal(raw, places[i].value.Addr().Interface()); err != nil {
			return fmt.Errorf("argument %d: %w", i, err)
		}
	}
	for name, raw := range named.Kwargs {
		i := slices.IndexFunc(places, func(p place) bool { return p.name != "" && strings.EqualFold(p.name, name) })
		if i < 0 {
			return fmt.Errorf("expected no argument %q: pass it by position", name)
		}
		if err := Unmarshal(raw, places[i].value.Addr().Interface()); err != nil {
			return fmt.Errorf("argument %s: %w", name, err)
		}
	}
	return nil
}

// place is where an argument is: a field with its name, or without one the value itself.
type place struct {
	name  string
	omit  bool // at the end, when it is zero
	value reflect.Value
}

func (p place) where() string {
	if p.name == "" {
		return ""
	}
	return "." + p.name + ": "
}

func placesOf(v reflect.Value) (places []place) {
	kind := v.Type()
	marked := kind.Kind() == reflect.Struct && kind.NumField() > 0 && kind.Field(0).Anonymous && kind.Field(0).Type == reflect.TypeFor[Positional]()
	if empty := kind.Kind() == reflect.Struct && kind.NumField() == 0; !marked && !empty {
		return []place{{value: v}}
	}
	for i := 1; i < kind.NumField(); i++ {
		f := kind.Field(i)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		places = append(places, place{name, strings.HasPrefix(options, "omit"), v.Field(i)})
	}
	return places
}
