//! Leads the connections of a workload through its sidecar, by what the kernel does with packets.
//!
//! [`Rules`] say what is wanted. [`plan`] makes an ordered list of matches and actions of them, once for both ways into
//! the kernel: [`nft`] speaks `nf_tables` over netlink and needs no program at all; [`iptables`] writes what
//! `iptables-restore` reads, for kernels without `nf_tables`. [`apply`], [`remove`] and [`show`] choose between the two.
//! [`cni`] does it for pods whose containers may not.
//!
//! ```
//! use weft_redirect::plan::{Action, Line, Match, plan};
//! use weft_redirect::{Rules, Span};
//!
//! // All that the workload opens, but for what goes to its database.
//! let rules = Rules { skip_outbound_ports: vec![Span::one(5432)], ..Rules::default() };
//! let chains = plan(&rules);
//! let lines: Vec<&Line> = chains.iter().flat_map(|chain| &chain.lines).collect();
//! assert!(lines.iter().any(|line| line.action == Action::Redirect(rules.outbound_port)));
//! let database = lines.iter().find(|line| line.matches == [Match::Port(Span::one(5432))]);
//! assert_eq!(database.map(|line| line.action), Some(Action::Leave));
//! ```

pub mod backend;
pub mod cni;
pub mod command;
pub mod error;
pub mod iptables;
pub mod list;
pub mod netlink;
pub mod nft;
pub mod plan;
pub mod route;
pub mod rules;

pub use backend::{Backend, Shown, Used, apply, remove, show};
pub use error::Error;
pub use list::{List, Span};
pub use rules::{Families, Inbound, Rules};
