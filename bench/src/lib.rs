//! Side-by-side benchmarks of Weft and other proxies.
