//! Who calls whom and how it goes, from what sidecars count.

mod edge;
pub(crate) mod exposition;
mod reported;

pub(crate) use edge::{EdgeReport, Edges, Key, rounded};
pub(crate) use reported::take_reported;

/// Milliseconds for people: 1.2 ms, 15 ms.
pub(crate) fn milliseconds(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 10.0 => format!("{value:.1} ms"),
        Some(value) => format!("{value:.0} ms"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_short() {
        assert_eq!(milliseconds(Some(1.234)), "1.2 ms");
        assert_eq!(milliseconds(Some(12.34)), "12 ms");
        assert_eq!(milliseconds(None), "-");
    }
}
