package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestTheExampleRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	if err := show(ctx, &out); err != nil {
		t.Fatal(err)
	}
	want := `cat.png: cat-small.png
dog.png: dog-small.png
notes.txt: step shrink failed once: errors.errorString: notes.txt is no picture
owl.png: owl-small.png
`
	if out.String() != want {
		t.Errorf("got %s", out.String())
	}
}
