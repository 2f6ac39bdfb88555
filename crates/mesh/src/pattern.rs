//! Regular expressions that users write: bounded in size, linear in time.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, meta};

use crate::Error;

/// Longest expression taken, in bytes.
const SOURCE_MAX: usize = 4096;
/// Most memory for an expression compiled ahead of time. Routes' expressions take a few KiB; what needs more is run
/// by an engine that compiles as it goes.
const DFA_MAX: usize = 256 * 1024;
/// Most memory for the form that the second engine works on, before the expression is refused.
const NFA_MAX: usize = 1024 * 1024;
/// Most memory that the second engine keeps for one thread.
const CACHE_MAX: usize = 1024 * 1024;

/// A regular expression that has to match a whole value, bytes not characters, letter case significant.
///
/// The dialect is that of Rust's `regex` crate without Unicode classes: no look-around, no back-references, and so
/// time linear in the value's length whatever the expression is.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    engine: Engine,
}

/// Most expressions become a table that is read without locks or scratch memory. The few whose table would be too
/// large go to the general engine, which takes its scratch memory from a pool.
#[derive(Clone)]
enum Engine {
    Table(Arc<dense::DFA<Vec<u32>>>),
    General(Arc<meta::Regex>),
}

impl Pattern {
    /// Compiles an expression; refuses what does not parse or needs too much memory.
    pub fn new(source: &str) -> Result<Self, Error> {
        if source.len() > SOURCE_MAX {
            return Err(Error::invalid("regular expression", source, "use at most 4096 bytes"));
        }
        let refuse =
            |error: &dyn fmt::Display| Error::invalid("regular expression", source, error.to_string());
        // Parsed alone first: the general engine's form wraps it, which could hide an unbalanced parenthesis.
        syntax::parse_with(source, &syntax_config()).map_err(|error| refuse(&error))?;
        let engine = match table(source) {
            Some(table) => Engine::Table(Arc::new(table)),
            None => Engine::General(Arc::new(general(source).map_err(|error| refuse(&error))?)),
        };
        Ok(Self { source: source.into(), engine })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.engine {
            // All matches are kept, so the last one that the table reports is the longest.
            Engine::Table(table) => table
                .try_search_fwd(&Input::new(value).anchored(Anchored::Yes))
                .is_ok_and(|longest| longest.is_some_and(|end| end.offset() == value.len())),
            Engine::General(regex) => regex.is_match(Input::new(value).anchored(Anchored::Yes)),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

fn table(source: &str) -> Option<dense::DFA<Vec<u32>>> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(DFA_MAX))
        .determinize_size_limit(Some(DFA_MAX));
    let nfa = regex_automata::nfa::thompson::Config::new().nfa_size_limit(Some(NFA_MAX)).utf8(false);
    dense::Builder::new().configure(config).syntax(syntax_config()).thompson(nfa).build(source).ok()
}

fn general(source: &str) -> Result<meta::Regex, String> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(NFA_MAX))
        .hybrid_cache_capacity(CACHE_MAX)
        .utf8_empty(false)
        .which_captures(regex_automata::nfa::thompson::WhichCaptures::None);
    meta::Builder::new()
        .configure(config)
        .syntax(syntax_config())
        .build(&format!("(?:{source})\\z"))
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_whole_value_has_to_match() {
        let pattern = Pattern::new("/v[0-9]+|/v1/x").unwrap();
        for (value, expected) in
            [("/v1", true), ("/v1/x", true), ("/v12", true), ("/v", false), ("a/v1", false), ("/v1/", false)]
        {
            assert_eq!(pattern.matches(value.as_bytes()), expected, "{value}");
        }
        assert!(Pattern::new("").unwrap().matches(b""));
        assert!(Pattern::new(".*").unwrap().matches("a\u{e9}\u{ff}".as_bytes()));
    }

    #[test]
    fn what_does_not_parse_is_refused() {
        for source in ["(", ")", "a)(b", "[", "(?=a)", "\\1"] {
            assert!(Pattern::new(source).is_err(), "{source}");
        }
        assert!(Pattern::new(&"a".repeat(SOURCE_MAX + 1)).is_err());
    }

    #[test]
    fn what_would_need_too_much_memory_is_refused_or_runs_on_the_general_engine() {
        assert!(Pattern::new("(((a{100}){100}){100}){100}").is_err());
        let large = Pattern::new(".*foo.{60}").unwrap();
        assert!(matches!(large.engine, Engine::General(_)));
        let value = format!("xfoo{}", "y".repeat(60));
        assert!(large.matches(value.as_bytes()));
        assert!(!large.matches(format!("{value}y").as_bytes()));
    }

    proptest! {
        #[test]
        fn both_engines_agree(source in "[ab|*+?().]{0,8}", value in "[abc]{0,6}") {
            if let Ok(pattern) = Pattern::new(&source) {
                let general = Pattern {
                    source: pattern.source.clone(),
                    engine: Engine::General(Arc::new(general(&source).unwrap())),
                };
                prop_assert_eq!(pattern.matches(value.as_bytes()), general.matches(value.as_bytes()));
            }
        }
    }
}
