package replay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryExportedNameIsDocumented: in the packages that programs import, and inside.
func TestEveryExportedNameIsDocumented(t *testing.T) {
	rooms := []string{".", "model", "client", "worker", "replaytest", "internal/codec", "internal/engine", "internal/interpreter", "internal/service"}
	for _, room := range rooms {
		paths, err := filepath.Glob(filepath.Join(room, "*.go"))
		must(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			source, err := os.ReadFile(path)
			must(t, err)
			file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ParseComments)
			must(t, err)
			for _, declaration := range file.Decls {
				for _, name := range undocumented(declaration) {
					t.Errorf("%s: %s has no comment", path, name)
				}
			}
		}
	}
}

func undocumented(declaration ast.Decl) (names []string) {
	switch d := declaration.(type) {
	case *ast.FuncDecl: // what an interface asks for is documented there
		known := strings.Contains(" Error String Unwrap Permanent Len Less Swap Push Pop RecvMsg GetRequestMetadata RequireTransportSecurity ", " "+d.Name.Name+" ")
		if d.Name.IsExported() && d.Doc == nil && !known {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}
