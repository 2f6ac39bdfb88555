//! Sums over the metrics of a proxy.

/// The metrics of one look.
pub struct Exposition(String);

impl Exposition {
    /// Metrics in the text format.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of the samples of a name that have all these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let samples = self.samples(name);
        let samples = samples.filter(|sample| labels.iter().all(|(name, value)| sample.has(name, value)));
        samples.map(|sample| sample.value).sum()
    }

    /// The samples of a name.
    pub fn samples(&self, name: &str) -> impl Iterator<Item = Sample<'_>> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                // No value of the labels that are asked for here holds a brace.
                Some(inside) => inside.rsplit_once('}')?,
                None => ("", rest),
            };
            Some(Sample { labels, value: value.strip_prefix(' ')?.split(' ').next()?.parse().ok()? })
        })
    }
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    labels: &'a str,
    /// Its value, a whole number.
    pub value: u64,
}

impl<'a> Sample<'a> {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &'a str {
        let value = |label: &'a str| label.strip_prefix(name)?.strip_prefix("=\"");
        let found = self.labels.split("\",").find_map(value);
        found.map(|quoted| quoted.trim_end_matches('"')).unwrap_or_default()
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.label(name) == value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"p\"} 3\na_total{x=\"1\",y=\"q\"} 4\na_total{x=\"10\",y=\"q\"} 5\n\
                    a_total_more{x=\"1\"} 9\nb 7\n";
        let metrics = Exposition::new(text.to_owned());
        assert_eq!(metrics.sum("a_total", &[]), 12);
        assert_eq!(metrics.sum("a_total", &[("x", "1")]), 7);
        assert_eq!(metrics.sum("a_total", &[("y", "q"), ("x", "10")]), 5);
        assert_eq!(metrics.sum("b", &[]), 7);
        assert_eq!(metrics.sum("c", &[]), 0);
        let labels: Vec<_> = metrics.samples("a_total").map(|sample| sample.label("y")).collect();
        assert_eq!(labels, ["p", "q", "q"]);
        assert!(metrics.samples("b").all(|sample| sample.label("y").is_empty()));
    }
}
