//! Changes to header fields (`HTTPHeaderFilter`).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::Error;

/// Fields that say how a message is framed or where it goes: changing them could make one message look like two.
const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Whether a field says how a message is framed or where it goes, so that nothing may be put into it.
pub fn frames(name: &HeaderName) -> bool {
    FRAMING.contains(name)
}

/// Header fields to remove, then to set, then to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
}

impl HeaderChanges {
    /// Checks names and values. Refuses fields that frame messages, and `host`, which `URLRewrite` changes. Of several
    /// entries of one list for one field only the first counts (Gateway API, `HTTPHeader.name`).
    pub fn new<'a>(
        set: impl IntoIterator<Item = (&'a str, &'a str)>,
        add: impl IntoIterator<Item = (&'a str, &'a str)>,
        remove: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Error> {
        Ok(Self {
            remove: remove.into_iter().map(check_name).collect::<Result<_, _>>()?,
            set: first_of_each(set)?,
            add: first_of_each(add)?,
        })
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }

    /// The names to remove.
    pub fn removed(&self) -> &[HeaderName] {
        &self.remove
    }

    /// The fields to set; a field that is there is replaced.
    pub fn set(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }

    /// The fields to add beside those that are there.
    pub fn added(&self) -> &[(HeaderName, HeaderValue)] {
        &self.add
    }
}

fn first_of_each<'a>(
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Box<[(HeaderName, HeaderValue)]>, Error> {
    let mut kept: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in fields {
        let field = (check_name(name)?, check_value(value)?);
        if !kept.iter().any(|(earlier, _)| *earlier == field.0) {
            kept.push(field);
        }
    }
    Ok(kept.into())
}

fn check_name(name: &str) -> Result<HeaderName, Error> {
    let parsed: HeaderName = name
        .parse()
        .map_err(|_| Error::invalid("header name", name, "use letters, digits and any of !#$%&'*+-.^_`|~"))?;
    if frames(&parsed) {
        return Err(Error::invalid(
            "header name",
            name,
            "this field belongs to the connection and can't be changed here",
        ));
    }
    Ok(parsed)
}

fn check_value(value: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(value)
        .map_err(|_| Error::invalid("header value", value, "use visible ASCII characters, spaces and tabs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_comes_first_then_setting_then_adding() {
        let changes =
            HeaderChanges::new([("a", "1"), ("x", "2")], [("x", "3"), ("b", "4")], ["X", "b"]).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "old"), ("a", "older"), ("x", "old"), ("b", "old"), ("c", "kept")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        changes.apply(&mut headers);
        let all =
            |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            (all("a"), all("x"), all("b"), all("c")),
            (vec!["1"], vec!["2", "3"], vec!["4"], vec!["kept"])
        );
    }

    #[test]
    fn of_several_entries_for_one_field_the_first_counts() {
        let changes = HeaderChanges::new([("A", "1"), ("a", "2")], [("b", "3"), ("B", "4")], []).unwrap();
        let mut headers = HeaderMap::new();
        changes.apply(&mut headers);
        assert_eq!(
            (headers.len(), &headers["a"], &headers["b"]),
            (2, &"1".parse().unwrap(), &"3".parse().unwrap())
        );
    }

    #[test]
    fn framing_fields_and_malformed_ones_are_refused() {
        for name in ["Transfer-Encoding", "content-length", "Host", ":path", "a b", ""] {
            assert!(HeaderChanges::new([(name, "1")], [], []).is_err(), "{name}");
            assert!(HeaderChanges::new([], [], [name]).is_err(), "{name}");
        }
        assert!(HeaderChanges::new([("a", "b\r\nc: d")], [], []).is_err());
    }
}
