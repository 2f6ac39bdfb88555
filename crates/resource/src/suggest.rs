//! "Did you mean": the known name that is nearest to an unknown one.

/// A hint that follows an unknown name: the nearest known one, or else all of them.
pub fn hint<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known.iter().map(|name| (distance(unknown, name), *name)).min();
    // A third of the letters may be wrong: enough for a slip of the fingers, too little for another word.
    if let Some((distance, name)) = nearest
        && distance <= (unknown.chars().count() / 3).max(1)
    {
        return format!("did you mean {name:?}?");
    }
    if known.is_empty() { "there are none here".to_owned() } else { format!("known: {}", known.join(", ")) }
}

/// Edit distance without regard to case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&right) {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = *cell;
            before = substituted.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(hint("backendRef", ["backendRefs", "filters"]), "did you mean \"backendRefs\"?");
        assert_eq!(hint("Filters", ["backendRefs", "filters"]), "did you mean \"filters\"?");
        assert_eq!(hint("nonsense", ["backendRefs", "filters"]), "known: backendRefs, filters");
    }

    #[test]
    fn distance_counts_edits() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("abc", "acb", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
