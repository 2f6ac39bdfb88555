//! Reading Prometheus' text format 0.0.4, as much of it as a sidecar writes.

/// One value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label; empty when there is none, which means the same.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Sample {
    /// The service that a label names, `reviews-v2` for `shop/reviews-v2:9080` seen from namespace `shop`.
    pub(crate) fn service(&self, label: &str, namespace: &str) -> Option<String> {
        let name = self.label(label);
        let name = name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        (!name.is_empty()).then(|| name.to_owned())
    }
}

/// All samples of a text. A line that is not understood is left out, as are comments.
pub(crate) fn read(text: &str) -> Vec<Sample> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(name_end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    // A time stamp may follow.
    let value = rest.split_whitespace().next()?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = quoted_text(quoted)?;
        labels.push((name.to_owned(), value));
        rest = after;
    }
}

/// A text up to its closing quote, with its escapes undone, and what follows it.
fn quoted_text(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, quoted.get(at + 1..)?)),
            '\\' => text.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n}\"} 3\nb 2.5 1700000000\n\nc{} +Inf\n";
        let found = read(text);
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].label("x"), found[0].label("y"), found[0].label("z")), ("1", "q\"\\\n}", ""));
        assert_eq!((found[1].name.as_str(), found[1].value), ("b", 2.5));
        assert!(found[2].value.is_infinite());
    }

    #[test]
    fn lines_that_are_cut_off_are_left_out() {
        for line in ["a{x=\"1", "a{x=\"1\\", "a{x", "a", "a{x=\"1\"} much", "", "{"] {
            assert!(read(line).is_empty(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_by_the_rules_is_read_back(value in "\\PC{0,20}", number in -1e9..1e9_f64) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let found = read(&format!("m{{l=\"{escaped}\"}} {number}"));
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].label("l"), value);
            prop_assert!((found[0].value - number).abs() < 1e-6);
        }

        #[test]
        fn no_text_makes_it_fail(text in "\\PC{0,200}") {
            read(&text);
        }
    }
}
