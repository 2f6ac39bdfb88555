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
        let samples = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (known, value) = match rest.strip_prefix('{') {
                // No value of the labels that are asked for here holds a brace.
                Some(inside) => inside.rsplit_once('}')?,
                None => ("", rest),
            };
            let value: u64 = value.strip_prefix(' ')?.split(' ').next()?.parse().ok()?;
            let has = |(name, value): &(&str, &str)| known.split("\",").any(|label| is(label, name, value));
            labels.iter().all(has).then_some(value)
        });
        samples.sum()
    }
}

/// Whether a label, without its last quote or with it, is this one.
fn is(label: &str, name: &str, value: &str) -> bool {
    let value_of = label.strip_prefix(name).and_then(|rest| rest.strip_prefix("=\""));
    value_of.is_some_and(|quoted| quoted.trim_end_matches('"') == value)
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
    }
}
