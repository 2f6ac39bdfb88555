//! Filling `{{variables}}` into the strings and files of a subject.
//!
//! | variable | value |
//! |---|---|
//! | `client_port` | where the client's sidecar accepts the client |
//! | `hop_port` | where the server's sidecar accepts its peer |
//! | `hop_target` | the port that the client's sidecar shall dial: `hop_port`, or a relay to it in checks |
//! | `app_port` | where the application listens |
//! | `port:NAME` | another free port, the same for the same name within a run |
//! | `program:NAME` | the path of a program |
//! | `certificates` | the folder of `ca.pem` and of `.crt`, `.key`, `.pem` of `client` and `server` |
//! | `client_id`, `server_id` | the SPIFFE ids in those |
//! | `protocol` | `h1` or `h2` |
//! | `dir` | the folder of this run, where the filled files are |
//! | `subject` | the folder of the subject |

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::Context;

use crate::host;

/// Names and their values.
#[derive(Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
    ports: RefCell<BTreeMap<String, u16>>,
}

impl Variables {
    /// None but programs.
    pub fn programs_only() -> Self {
        Self::default()
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// `text` with its variables replaced.
    pub fn fill(&self, text: &str) -> anyhow::Result<String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) =
                after.split_once("}}").with_context(|| format!("`{{{{` without `}}}}` in {text:?}"))?;
            filled.push_str(before);
            filled.push_str(&self.value(name.trim())?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Each of `texts`, filled.
    pub fn fill_all(&self, texts: &[String]) -> anyhow::Result<Vec<String>> {
        texts.iter().map(|text| self.fill(text)).collect()
    }

    fn value(&self, name: &str) -> anyhow::Result<String> {
        if let Some(program) = name.strip_prefix("program:") {
            return Ok(host::find_program(program)?.display().to_string());
        }
        if let Some(port) = name.strip_prefix("port:") {
            let mut ports = self.ports.borrow_mut();
            let port = match ports.get(port) {
                Some(&known) => known,
                None => *ports.entry(port.to_owned()).or_insert(host::free_port()?),
            };
            return Ok(port.to_string());
        }
        self.values.get(name).cloned().with_context(|| {
            let known: Vec<_> = self.values.keys().map(String::as_str).collect();
            format!("unknown variable {name:?}; known are port:NAME, program:NAME, {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_everything_else_is_kept() {
        let mut variables = Variables::default();
        variables.set("app_port", "8080");
        assert_eq!(
            variables.fill("{a} 127.0.0.1:{{app_port}}, {{ app_port }}").unwrap(),
            "{a} 127.0.0.1:8080, 8080"
        );
    }

    #[test]
    fn a_named_port_stays_the_same() {
        let variables = Variables::default();
        let filled = variables.fill("{{port:admin}} {{port:admin}} {{port:other}}").unwrap();
        let ports: Vec<_> = filled.split(' ').collect();
        assert!(ports[0] == ports[1] && ports[1] != ports[2], "{filled}");
    }

    #[test]
    fn an_unknown_variable_is_refused_by_name() {
        let error = Variables::default().fill("{{nonsense}}").unwrap_err().to_string();
        assert!(error.contains("\"nonsense\""), "{error}");
        assert!(Variables::default().fill("{{open").is_err());
    }
}
