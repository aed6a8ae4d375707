package codec

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestValuesHaveOneSpelling(t *testing.T) {
	type inner struct {
		B int `json:"b"`
	}
	type outer struct {
		inner
		Z    string  `json:"z"`
		A    *int    `json:"a,omitempty"`
		Skip string  `json:"-"`
		F    float64 `json:"é"`
	}
	type celsius float64
	type price struct {
		Cents float64 `json:"cents,string"`
	}
	huge, _ := new(big.Int).SetString("18446744073709551616", 10)
	for want, value := range map[string]any{
		`null`:                     nil,
		`1`:                        1.0,
		`-0.0`:                     math.Copysign(0, -1),
		`0.1`:                      float32(0.1),
		`100`:                      100.0,
		`1e-07`:                    1e-7,
		`1.5e-07`:                  1.5e-7,
		`0.0001`:                   1e-4,
		`1e+16`:                    1e16,
		`9007199254740992.0`:       math.Exp2(53),
		`9007199254740991`:         math.Exp2(53) - 1,
		`123456789012345.6`:        123456789012345.6,
		`1e+308`:                   1e308,
		`[-0.0,1,1e+17,0.5]`:       []celsius{celsius(math.Copysign(0, -1)), 1, 1e17, 0.5},
		`{"a":9007199254740992.0}`: map[string]any{"a": celsius(math.Exp2(53))},
		`{"cents":"1.5"}`:          price{1.5},
		`5e-324`:                   math.SmallestNonzeroFloat64,
		`18446744073709551616`:     huge,
		`18446744073709551615`:     uint64(math.MaxUint64),
		`[]`:                       []int(nil),
		`{}`:                       map[string]int(nil),
		`"AAEC/w=="`:               []byte{0, 1, 2, 255},
		`"\b\f\n\r\t\u0001\"\\/"`:  "\b\f\n\r\t\x01\"\\/",
		"\"\u2028\u007f<&>\"":      "\u2028\u007f<&>",
		`{"b":2,"z":"","é":0.5}`:   outer{inner: inner{2}, F: 0.5},
		"{\"\uffff\":1,\"😀\":2}":   map[string]int{"😀": 2, "\uffff": 1},
		`{"1":"a"}`:                map[int]string{1: "a"},
		`"2026-01-01T00:00:00Z"`:   time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		`[1,"x",null,true]`:        []any{1, "x", nil, true},
	} {
		got, err := Marshal(value)
		if err != nil || string(got) != want {
			t.Errorf("%v: expected %s, got %s, %v", value, want, got, err)
		}
		if again, err := Canonical(got); err != nil || string(again) != want {
			t.Errorf("%v: read again it is %s, %v", value, again, err)
		}
	}
}

func TestOtherSpellingsBecomeCanonical(t *testing.T) {
	for text, want := range map[string]string{
		` { "b" : [ 1.0 , 2e0 ] , "a" : "\u00e9\/" } `: `{"a":"é/","b":[1,2]}`,
		`{"a":1,"a":2}`:          `{"a":2}`,
		`-0`:                     `0`,
		`-0.0`:                   `-0.0`,
		`9007199254740993`:       `9007199254740993`,
		`9007199254740992.0`:     `9007199254740992.0`,
		`"\ud83d\ude00"`:         `"😀"`,
		`"\ufffd"`:               "\"\uFFFD\"",
		`1E400`:                  "",
		`"\ud800"`:               "",
		`"\udc00\ud800"`:         "",
		`"\\ud800\\ufffd"`:       `"\\ud800\\ufffd"`,
		"\"\xff\"":               "",
		`[1,]`:                   "",
		`{"a"}`:                  "",
		`01`:                     "",
		`.5`:                     "",
		`+1`:                     "",
		`1 2`:                    "",
		`nul`:                    "",
		`"a`:                     "",
		strings.Repeat("[", 101): "",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): strings.Repeat("[", 100) + strings.Repeat("]", 100),
	} {
		got, err := Canonical([]byte(text))
		if (err != nil) != (want == "") || string(got) != want {
			t.Errorf("%s: expected %q, got %q, %v", text, want, got, err)
		}
	}
}

func TestWhatIsNoDataIsRefused(t *testing.T) {
	type loop struct{ Next *loop }
	endless := &loop{}
	endless.Next = endless
	for _, value := range []any{
		math.NaN(), math.Inf(1), func() {}, make(chan int), "\xff", endless, map[string]any{"a": []any{math.NaN()}}, map[float64]int{1: 1},
	} {
		if got, err := Marshal(value); err == nil {
			t.Errorf("expected %T to be refused, got %s", value, got)
		}
	}
}

func TestNumbersOfUnknownTypeLoseNothing(t *testing.T) {
	const text = `{"big":18446744073709551617,"double":9007199254740992.0,"list":[-0.0,1e-07]}`
	var value any
	if err := Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	if got, err := Marshal(value); err != nil || string(got) != text {
		t.Errorf("got %s, %v", got, err)
	}
	if err := Unmarshal([]byte(`1 2`), &value); err == nil {
		t.Error("expected more than one value to be refused")
	}
}

func FuzzCanonicalIsAFixedPoint(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-9,"\u0000"]}`, `-0.0`, `[[],{}]`, `"\ud83d\ude00"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		once, err := Canonical(text)
		if err != nil {
			return
		}
		twice, err := Canonical(once)
		if err != nil || string(once) != string(twice) {
			t.Errorf("%q became %q, then %q, %v", text, once, twice, err)
		}
		var value any
		if err := Unmarshal(once, &value); err != nil {
			t.Fatalf("%q: %v", once, err)
		}
		if again, err := Marshal(value); err != nil || string(again) != string(once) {
			t.Errorf("%q became %q, %v", once, again, err)
		}
	})
}
