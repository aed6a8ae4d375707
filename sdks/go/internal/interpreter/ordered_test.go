package interpreter

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAnOrderedMapListsInTheOrderOfItsKeys(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var o ordered[int, int]
	var keys []int // what it should hold, in order; the value of a key is its last one
	values := map[int]int{}
	for round := range 20_000 {
		key := chance.IntN(200)
		if chance.IntN(3) == 0 {
			o.remove(key)
			keys = slices.DeleteFunc(keys, func(other int) bool { return other == key })
			delete(values, key)
		} else {
			if _, known := values[key]; !known {
				keys = append(keys, key)
			}
			o.set(key, round)
			values[key] = round
		}
		var want []int
		for _, key := range keys {
			want = append(want, values[key])
		}
		got, ok := o.get(key)
		expected, known := values[key]
		if !slices.Equal(want, o.list()) || o.len() != len(keys) || got != expected || ok != known {
			t.Fatalf("round %d: expected %v, got %v", round, want, o.list())
		}
		if len(o.items) > 2*len(keys)+17 {
			t.Fatalf("round %d: %d places for %d keys", round, len(o.items), len(keys))
		}
	}
}
