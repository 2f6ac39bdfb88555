// Go: the standard library's mux in front, which redirects what is not clean, and the decoded path behind it.
package main

import (
	"net/http"
	"os"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.URL.Path)) })
	http.ListenAndServe("127.0.0.1:"+os.Args[1], mux)
}
