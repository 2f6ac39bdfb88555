//! Messages about tables, chains and rules, in one transaction.

use super::TABLE;
use super::expression::Expression;
use super::lower::lower;
use crate::netlink::{ACK, APPEND, CREATE, DUMP, REQUEST, Writer, attribute, attributes};
use crate::plan::{Chain, Line, Place};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Number of `nf_tables` among the parts of netfilter.
const NF_TABLES: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
/// Both families at once.
const INET: u8 = 1;
/// The packet goes on where no rule decides.
const POLICY_ACCEPT: u32 = 1;
/// What `nft` writes a comment with.
const COMMENT: u8 = 0;

const LIST_ITEM: u16 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// What one message of a transaction is about, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// In words.
    pub words: String,
    /// Kernel modules that it needs.
    pub modules: Vec<&'static str>,
}

/// A transaction: all of it happens, or nothing.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What goes to the kernel.
    pub bytes: Vec<u8>,
    /// What each message is about, by its number.
    pub steps: Vec<Step>,
    /// Number of the message that is answered when all went well.
    pub last: u32,
}

/// Name, type, hook and priority of a chain.
fn base(place: Place) -> (&'static str, &'static str, u32, i32) {
    const PREROUTING: u32 = 0;
    const OUTPUT: u32 = 3;
    match place {
        Place::InboundNat => ("prerouting", "nat", PREROUTING, -100),
        Place::OutboundNat => ("output", "nat", OUTPUT, -100),
        Place::InboundMangle => ("prerouting", "filter", PREROUTING, -150),
        Place::OutboundMangle => ("answers", "route", OUTPUT, -150),
    }
}

#[derive(Debug, Default)]
struct Builder {
    writer: Writer,
    steps: Vec<Step>,
    /// Number of messages besides the bounds of the transaction.
    messages: usize,
}

impl Builder {
    fn step(&mut self, words: String, modules: Vec<&'static str>) -> u32 {
        self.steps.push(Step { words, modules });
        (self.steps.len() - 1) as u32
    }

    fn bound(&mut self, kind: u16, words: &str) {
        let sequence = self.step(words.to_owned(), Vec::new());
        self.writer.message(kind, REQUEST, sequence, &header(0, NF_TABLES));
    }

    fn message(&mut self, kind: u16, flags: u16, words: String, modules: Vec<&'static str>) {
        let sequence = self.step(words, modules);
        self.messages += 1;
        self.writer.message(NF_TABLES << 8 | kind, REQUEST | flags, sequence, &header(INET, 0));
    }

    fn table(&mut self, kind: u16, flags: u16, words: &str) {
        self.message(kind, flags, words.to_owned(), Vec::new());
        self.writer.text(1, TABLE);
        if kind == NEW_TABLE {
            self.writer.number(2, 0);
        }
    }

    fn chain(&mut self, place: Place, flags: u16) {
        let (name, kind, hook, priority) = base(place);
        let modules = if kind == "nat" { vec!["nft_chain_nat"] } else { vec!["nf_tables_inet"] };
        self.message(NEW_CHAIN, CREATE | flags, format!("adding the {kind} chain {name}"), modules);
        self.writer.text(1, TABLE);
        self.writer.text(3, name);
        self.writer.nested(4, |writer| {
            writer.number(1, hook);
            writer.number(2, priority.cast_unsigned());
        });
        self.writer.number(5, POLICY_ACCEPT);
        self.writer.text(7, kind);
    }

    fn rule(&mut self, place: Place, line: &Line, flags: u16) {
        let steps = lower(line);
        let modules = steps.iter().filter_map(Expression::module).collect();
        let words = format!("adding the rule \"{}\"", line.words);
        self.message(NEW_RULE, CREATE | APPEND | flags, words, modules);
        self.writer.text(RULE_TABLE, TABLE);
        self.writer.text(RULE_CHAIN, base(place).0);
        self.writer.nested(RULE_EXPRESSIONS, |writer| {
            for step in &steps {
                writer.nested(LIST_ITEM, |writer| step.encode(writer));
            }
        });
        self.writer.attribute(RULE_USERDATA, &comment(&line.words));
    }

    fn finish(mut self, last: u32) -> Batch {
        self.bound(BATCH_END, "ending the transaction");
        Batch { bytes: self.writer.into_bytes(), steps: self.steps, last }
    }
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn comment(words: &str) -> Vec<u8> {
    let mut bytes = vec![COMMENT, words.len() as u8 + 1];
    bytes.extend_from_slice(words.as_bytes());
    bytes.push(0);
    bytes
}

impl Batch {
    /// Replaces whatever the table holds by these chains.
    ///
    /// Only the last message asks for an answer: errors come for each anyway, and answers to hundreds of rules would not
    /// fit what a socket holds.
    pub fn replace(chains: &[Chain]) -> Self {
        let mut batch = Builder::default();
        batch.bound(BATCH_BEGIN, "beginning a transaction of nf_tables");
        // Made first, so that there always is one to delete.
        batch.table(NEW_TABLE, CREATE, "adding the table inet weft");
        batch.table(DELETE_TABLE, 0, "removing the table inet weft");
        batch.table(NEW_TABLE, CREATE, "adding the table inet weft");
        let lines: usize = chains.iter().map(|chain| chain.lines.len()).sum();
        let last = batch.messages + chains.len() + lines;
        for chain in chains {
            let asked = |batch: &Builder| if batch.messages + 1 == last { ACK } else { 0 };
            let flags = asked(&batch);
            batch.chain(chain.place, flags);
            for line in &chain.lines {
                let flags = asked(&batch);
                batch.rule(chain.place, line, flags);
            }
        }
        batch.finish(last as u32)
    }

    /// Deletes the table, which is an error if there is none.
    pub fn remove() -> Self {
        let mut batch = Builder::default();
        batch.bound(BATCH_BEGIN, "beginning a transaction of nf_tables");
        batch.table(DELETE_TABLE, ACK, "removing the table inet weft");
        batch.finish(1)
    }
}

/// Asks for all rules of the table.
pub fn ask_rules() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message(NF_TABLES << 8 | GET_RULE, REQUEST | DUMP, 1, &header(INET, 0));
    writer.text(RULE_TABLE, TABLE);
    writer.into_bytes()
}

/// A rule as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// What it does, in words.
    pub words: String,
    /// Its steps.
    pub expressions: Vec<Expression>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).into_owned()
}

impl Rule {
    /// Reads the body of a message about a rule; `None` if it holds what rules here don't have.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let body = body.get(4..)?;
        let items = attributes(attribute(body, RULE_EXPRESSIONS)?).filter(|(kind, _)| *kind == LIST_ITEM);
        let words = attribute(body, RULE_USERDATA).and_then(|data| match data {
            [COMMENT, length, words @ ..] => words.get(..usize::from(*length)),
            _ => None,
        });
        Some(Self {
            chain: text(attribute(body, RULE_CHAIN)?),
            words: words.map(text).unwrap_or_default(),
            expressions: items.map(|(_, item)| Expression::decode(item)).collect::<Option<_>>()?,
        })
    }

    /// The rules of a plan, as the kernel is to have them.
    pub fn planned(chains: &[Chain]) -> Vec<Self> {
        let rule = |chain: &Chain, line: &Line| Self {
            chain: base(chain.place).0.to_owned(),
            words: line.words.clone(),
            expressions: lower(line),
        };
        chains.iter().flat_map(|chain| chain.lines.iter().map(move |line| rule(chain, line))).collect()
    }
}

#[cfg(test)]
mod tests;
