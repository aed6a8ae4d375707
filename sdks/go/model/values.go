package model

import (
	"reflect"

	"example.org/replay/internal/codec"
)

// Spell is a value as journals have it, or a PayloadError that says whose it is, such as "result of step" "charge".
func Spell[T any](what, name string, value T) ([]byte, error) {
	payload, err := codec.Marshal(value)
	return payload, fits[T](what, name, err)
}

// Read is the way back.
func Read[T any](what, name string, payload []byte) (value T, err error) {
	err = codec.Unmarshal(payload, &value)
	return value, fits[T](what, name, err)
}

// SpellArguments is Spell for the arguments of a step or workflow.
func SpellArguments[T any](of, name string, value T) ([]byte, error) {
	payload, err := codec.Arguments(value)
	return payload, fits[T](of, name, err)
}

// SpellGiven is SpellArguments for a value whose type is known at run time only.
func SpellGiven(of, name string, value any) ([]byte, error) {
	if value == nil {
		return SpellArguments(of, name, value)
	}
	payload, err := codec.ArgumentsOf(reflect.ValueOf(value))
	return payload, fits[any](of, name, err)
}

// ReadArguments is the way back.
func ReadArguments[T any](of, name string, payload []byte) (value T, err error) {
	err = codec.ReadArguments(payload, &value)
	return value, fits[T](of, name, err)
}

func fits[T any](what, name string, err error) error {
	if err == nil {
		return nil
	}
	expected := "plain data"
	if kind := reflect.TypeFor[T](); kind.Kind() != reflect.Interface {
		expected = kind.String()
	}
	return &PayloadError{Where: what + " " + name, Expected: expected, Got: err.Error()}
}
