package interpreter

// ordered is a map that lists its values in the order in which their keys came.
type ordered[K comparable, V any] struct {
	places map[K]int
	items  []item[K, V] // with holes where keys were taken out
}

type item[K comparable, V any] struct {
	key   K
	value V
	there bool
}

func (o *ordered[K, V]) len() int { return len(o.places) }

func (o *ordered[K, V]) get(key K) (value V, ok bool) {
	place, ok := o.places[key]
	if ok {
		value = o.items[place].value
	}
	return value, ok
}

// set adds a key at the end, or gives it another value in its place.
func (o *ordered[K, V]) set(key K, value V) {
	place, known := o.places[key]
	if known {
		o.items[place].value = value
		return
	}
	if o.places == nil {
		o.places = map[K]int{}
	}
	o.places[key] = len(o.items)
	o.items = append(o.items, item[K, V]{key, value, true})
}

func (o *ordered[K, V]) remove(key K) {
	place, known := o.places[key]
	if !known {
		return
	}
	delete(o.places, key)
	o.items[place] = item[K, V]{}
	if len(o.places) == 0 {
		o.items = o.items[:0]
	} else if len(o.items) > 2*len(o.places)+16 { // more holes than values
		kept := o.items
		o.items = nil
		for _, one := range kept {
			if one.there {
				o.places[one.key] = len(o.items)
				o.items = append(o.items, one)
			}
		}
	}
}

func (o *ordered[K, V]) list() []V {
	listed := make([]V, 0, len(o.places))
	for _, one := range o.items {
		if one.there {
			listed = append(listed, one.value)
		}
	}
	return listed
}
