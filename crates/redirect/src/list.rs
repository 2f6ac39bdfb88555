//! Lists as options and annotations have them: values with commas between.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Numbers from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<T> {
    /// The least.
    pub first: T,
    /// The greatest.
    pub last: T,
}

impl<T: Copy + PartialOrd> Span<T> {
    /// One number.
    pub fn one(value: T) -> Self {
        Self { first: value, last: value }
    }

    /// Whether a number is among them.
    pub fn contains(&self, value: T) -> bool {
        self.first <= value && value <= self.last
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Span<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A text that is no list of what it should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {wanted}")]
pub struct ListError {
    value: String,
    wanted: &'static str,
}

/// What a list may hold.
pub trait Item: Sized {
    /// What to write, for an error.
    const WANTED: &'static str;
    /// One item of its text.
    fn item(text: &str) -> Option<Self>;
}

fn span<T: FromStr + PartialOrd + Copy>(text: &str) -> Option<Span<T>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let span = Span { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
    (span.first <= span.last).then_some(span)
}

impl Item for Span<u16> {
    const WANTED: &'static str = "a port, or a range of ports such as 8000-8010";

    fn item(text: &str) -> Option<Self> {
        span(text).filter(|span| span.first > 0)
    }
}

impl Item for Span<u32> {
    const WANTED: &'static str = "the number of a user, or a range such as 1000-1010";

    fn item(text: &str) -> Option<Self> {
        span(text)
    }
}

impl Item for IpNet {
    const WANTED: &'static str = "an address, or a block of addresses such as 10.0.0.0/8";

    fn item(text: &str) -> Option<Self> {
        let net = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from));
        net.map(|net: Self| net.trunc())
    }
}

/// Items with commas between them; nothing at all is an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Item> FromStr for List<T> {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| T::item(item).ok_or_else(|| ListError { value: item.to_owned(), wanted: T::WANTED }))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_values_and_ranges() {
        let ports: List<Span<u16>> = "22, 8000-8010,".parse().unwrap();
        assert_eq!(ports.0, [Span::one(22), Span { first: 8000, last: 8010 }]);
        let addresses: List<IpNet> = "10.1.2.3/8,::1,192.0.2.1".parse().unwrap();
        let addresses: Vec<String> = addresses.0.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.0/8", "::1/128", "192.0.2.1/32"]);
        assert_eq!("".parse::<List<Span<u32>>>().unwrap().0, []);
    }

    #[test]
    fn what_is_wrong_in_a_list_is_named() {
        for text in ["http", "0", "10-9", "70000", "1-"] {
            let error = format!("80,{text}").parse::<List<Span<u16>>>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is not a port")), "{error}");
        }
        let error = "10.0.0.0/33".parse::<List<IpNet>>().unwrap_err().to_string();
        assert!(error.contains("\"10.0.0.0/33\" is not an address"), "{error}");
    }
}
