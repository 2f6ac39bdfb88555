//! What finding a rule costs, by the number of routes and by the depth of the path.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use weft_mesh::route::{
    Backend, HttpMatch, HttpRoute, HttpRule, PathMatch, RequestParts, ResourceRef, RouteTable,
};
use weft_mesh::split::Split;

/// Numbers of routes.
const ROUTES: [usize; 4] = [10, 100, 1_000, 10_000];
/// Depths of paths, in segments, with the largest number of routes.
const DEPTHS: [usize; 4] = [2, 4, 8, 16];
/// Lookups between two looks at the clock.
const BATCH: usize = 10_000;

/// One table and the paths that are looked up in it.
struct Case {
    name: String,
    table: RouteTable<()>,
    paths: Vec<String>,
    /// Nanoseconds of a lookup, one for each round.
    nanoseconds: Vec<f64>,
}

impl Case {
    fn new(routes: usize, depth: usize) -> anyhow::Result<Self> {
        let prefixes: Vec<String> = (0..routes).map(|number| prefix(number, depth)).collect();
        let routes_of = prefixes.iter().enumerate().map(|(number, prefix)| {
            let mut rule = HttpRule::to(Split::single("backend", Backend::new(())));
            rule.matches = vec![HttpMatch::path(PathMatch::prefix(prefix)?)];
            let id = ResourceRef::new("HTTPRoute", "default", &format!("route-{number}"));
            Ok(HttpRoute { id, hostnames: Vec::new(), rules: vec![rule] })
        });
        let table = RouteTable::compile(routes_of.collect::<anyhow::Result<Vec<_>>>()?);
        let mut paths: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}/item")).collect();
        // In another order than the routes, so that neither a cache nor a guess knows the next one.
        fastrand::Rng::with_seed(7).shuffle(&mut paths);
        Ok(Self { name: format!("{routes} | {depth}"), table, paths, nanoseconds: Vec::new() })
    }

    /// Looks paths up for `time`.
    fn round(&mut self, time: Duration) -> anyhow::Result<()> {
        let headers = HeaderMap::new();
        let mut paths = self.paths.iter().cycle();
        let (began, mut lookups) = (Instant::now(), 0_usize);
        while began.elapsed() < time {
            for path in paths.by_ref().take(BATCH) {
                let request = RequestParts {
                    method: &Method::GET,
                    host: "reviews:9080",
                    path,
                    query: None,
                    headers: &headers,
                };
                let found = black_box(self.table.find(black_box(&request)));
                anyhow::ensure!(found.is_some(), "{path} meets no route, though there is one for it");
            }
            lookups += BATCH;
        }
        self.nanoseconds.push(began.elapsed().as_secs_f64() * 1e9 / lookups as f64);
        Ok(())
    }

    fn median(&self) -> f64 {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// A path of `depth` segments that no other number has.
fn prefix(number: usize, depth: usize) -> String {
    let mut path = String::new();
    for level in 1..depth {
        // Writing to a String cannot fail.
        let _ = write!(path, "/level-{level}");
    }
    let _ = write!(path, "/service-{number}");
    path
}

/// Measures all tables in interleaved rounds and prints a table in Markdown.
pub(crate) fn run(rounds: u32, round: Duration) -> anyhow::Result<()> {
    let largest = ROUTES.iter().copied().max().unwrap_or_default();
    let sizes = ROUTES.map(|routes| (routes, 2));
    let depths = DEPTHS.map(|depth| (largest, depth));
    let mut cases = Vec::new();
    for (routes, depth) in sizes.into_iter().chain(depths.into_iter().skip(1)) {
        cases.push(Case::new(routes, depth)?);
    }
    for _ in 0..rounds {
        for case in &mut cases {
            case.round(round)?;
        }
    }
    let first = cases.first().map_or(f64::NAN, Case::median);
    println!("| routes | segments before the last | ns for a lookup (median of {rounds}) | of the first |");
    println!("|---|---|---|---|");
    for case in &cases {
        println!("| {} | {:.0} | {:.2} |", case.name, case.median(), case.median() / first);
    }
    Ok(())
}
