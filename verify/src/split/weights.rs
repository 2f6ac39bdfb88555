//! Sets of weights, the routes that have them, and what is to be expected of them.

use super::BACKENDS;
use super::backend::ROUND;

/// Weights of the backends, in order.
pub(super) type Weights = [u32; BACKENDS.len()];

/// Standard deviations that a count may be away from what is expected of it: one in 16,000 is further by chance.
const SIGMAS: f64 = 4.0;

/// The routes and the policy with these weights. Requests carry the name of the round to whoever gets them.
pub(super) fn configuration(round: &str, weights: Weights) -> String {
    let line = |(name, weight)| format!("        - {{name: {name}, port: 80, weight: {weight}}}\n");
    let backends = BACKENDS.into_iter().zip(weights).map(line).collect::<Vec<_>>().concat();
    let rule = |path: &str, session: &str| {
        format!(
            "    - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n{session}      filters:\n        \
             - type: RequestHeaderModifier\n          requestHeaderModifier: {{set: [{{name: {ROUND}, value: {round:?}}}]}}\n      \
             backendRefs:\n{backends}"
        )
    };
    let route = |name: &str, rules: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: {name}, port: 80}}]\n  rules:\n{rules}---\n"
        )
    };
    let sessions = [
        ("/cookie", "      sessionPersistence: {type: Cookie, sessionName: sid}\n".to_owned()),
        (
            "/field",
            format!("      sessionPersistence: {{type: Header, sessionName: {}}}\n", super::SESSION_FIELD),
        ),
        ("/", String::new()),
    ];
    let rules: String = sessions.iter().map(|(path, session)| rule(path, session)).collect();
    let keyed = rule("/", "");
    format!(
        "{}{}apiVersion: mesh.weft.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {{name: keyed}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: keyed}}]\n  splitKey: {{header: {}}}\n",
        route("front", &rules),
        route("keyed", &keyed),
        super::KEY_FIELD
    )
}

/// The part that each backend shall get.
pub(super) fn shares(weights: Weights) -> [f64; BACKENDS.len()] {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    weights.map(|weight| f64::from(weight) / total)
}

/// How many standard deviations of a binomial count `count` of `draws` is away from its share.
pub(super) fn sigmas(count: u64, draws: u64, share: f64) -> f64 {
    let off = count as f64 - draws as f64 * share;
    let deviation = (draws as f64 * share * (1.0 - share)).sqrt();
    // Of all or nothing, nothing is left to chance.
    if deviation > 0.0 || off == 0.0 { off / deviation.max(f64::MIN_POSITIVE) } else { f64::INFINITY }
}

/// Whether a count is what the share demands: exactly for all or nothing, else within what chance does.
pub(super) fn is_met(count: u64, draws: u64, share: f64) -> bool {
    sigmas(count, draws, share).abs() <= SIGMAS
}

/// The part of all keys that moves when weights change, by what rendezvous hashing is ("probability minhash", Moulton and
/// Jiang 2018): as many as have to if one weight changes or there are two backends, and otherwise never more than
/// `2 n / (1 + n)` with `n` the part that has to, which is the least that any choice without a memory can promise.
pub(super) fn moving(before: Weights, after: Weights) -> f64 {
    let (before, after) = (shares(before), shares(after));
    let pairs = || before.into_iter().zip(after);
    let staying = pairs().filter(|(old, new)| *old > 0.0 && *new > 0.0).map(|(old, new)| {
        pairs().map(|(other_old, other_new)| (other_old / old).max(other_new / new)).sum::<f64>().recip()
    });
    1.0 - staying.sum::<f64>()
}

/// The part of all keys that has to move when weights change: what backends lose, which is what others gain.
pub(super) fn necessary(before: Weights, after: Weights) -> f64 {
    shares(before).iter().zip(shares(after)).map(|(before, after)| (before - after).max(0.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_judged_by_what_chance_does() {
        assert!(is_met(900, 1000, 0.9) && is_met(937, 1000, 0.9) && !is_met(939, 1000, 0.9));
        assert!(is_met(0, 1000, 0.0) && !is_met(1, 1000, 0.0));
        assert!(is_met(1000, 1000, 1.0) && !is_met(999, 1000, 1.0));
    }

    #[test]
    fn only_what_backends_lose_has_to_move() {
        assert!((necessary([50, 30, 0, 20], [50, 20, 10, 20]) - 0.1).abs() < 1e-9);
        assert!(necessary([1, 1, 1, 1], [5, 5, 5, 5]).abs() < 1e-9);
        assert!((necessary([1, 0, 0, 0], [0, 0, 0, 1]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn as_many_keys_move_as_have_to_where_one_weight_changes_and_not_many_more_where_several_do() {
        for (before, after) in [
            ([50, 30, 0, 20], [50, 30, 0, 40]),
            ([90, 10, 0, 0], [60, 40, 0, 0]),
            ([5, 5, 5, 5], [5, 5, 0, 5]),
        ] {
            let (moving, necessary) = (moving(before, after), necessary(before, after));
            assert!((moving - necessary).abs() < 1e-9, "{before:?} {after:?}: {moving} {necessary}");
        }
        let (before, after) = ([50, 30, 0, 20], [20, 30, 0, 50]);
        let (moving, necessary) = (moving(before, after), necessary(before, after));
        assert!(moving > necessary && moving <= 2.0 * necessary / (1.0 + necessary), "{moving}");
    }
}
