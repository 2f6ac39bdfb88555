// Renders the chart in a folder as `helm template` does, for each line of JSON on stdin: values in, documents out. A line
// of output is a JSON object with `documents` (YAML, a stream) or `error`.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

type answer struct {
	Documents string `json:"documents,omitempty"`
	Error     string `json:"error,omitempty"`
}

func render(folder, namespace string, line []byte) (string, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return "", err
	}
	given := map[string]interface{}{}
	if err := json.Unmarshal(line, &given); err != nil {
		return "", err
	}
	release := chartutil.ReleaseOptions{Name: "weft", Namespace: namespace, IsInstall: true}
	// Checks them against values.schema.json too.
	values, err := chartutil.ToRenderValues(chart, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return "", err
	}
	var names []string
	for name := range files {
		if strings.HasSuffix(name, ".yaml") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var text strings.Builder
	for _, name := range names {
		if strings.TrimSpace(files[name]) != "" {
			fmt.Fprintf(&text, "---\n%s\n", strings.TrimPrefix(strings.TrimSpace(files[name]), "---"))
		}
	}
	return text.String(), nil
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		documents, err := render(os.Args[1], os.Args[2], lines.Bytes())
		said := answer{Documents: documents}
		if err != nil {
			said.Error = err.Error()
		}
		if err := out.Encode(said); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
