package model

import (
	"reflect"

	"example.org/replay/internal/codec"
)

// Spell is a value as journals have it, or a PayloadError that says where it stands.
func Spell[T any](where string, value T) ([]byte, error) {
	payload, err := codec.Marshal(value)
	return payload, misfit[T](where, err)
}

// Read is the way back.
func Read[T any](where string, payload []byte) (value T, err error) {
	err = codec.Unmarshal(payload, &value)
	return value, misfit[T](where, err)
}

// SpellArguments is Spell for the arguments of a step or workflow.
func SpellArguments[T any](of string, value T) ([]byte, error) {
	payload, err := codec.Arguments(value)
	return payload, misfit[T]("arguments of "+of, err)
}

// ReadArguments is the way back.
func ReadArguments[T any](of string, payload []byte) (value T, err error) {
	err = codec.ReadArguments(payload, &value)
	return value, misfit[T]("arguments of "+of, err)
}

func misfit[T any](where string, err error) error {
	if err == nil {
		return nil
	}
	expected := reflect.TypeFor[T]()
	if expected.Kind() == reflect.Interface {
		return &PayloadError{Where: where, Expected: "plain data", Got: err.Error()}
	}
	return &PayloadError{Where: where, Expected: expected.String(), Got: err.Error()}
}
