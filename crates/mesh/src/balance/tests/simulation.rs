//! Pickers against simulated servers: many callers, time in steps, queues that fill.

use super::*;

/// A server that works on a few requests at once, each for as long as `service` says; others wait.
struct Server {
    slots: usize,
    service: Duration,
    /// When each slot is free again.
    free: Vec<Instant>,
}

impl Server {
    fn new(slots: usize, service: Duration, now: Instant) -> Self {
        Self { slots, service, free: vec![now; slots] }
    }

    /// When a request that comes now is done.
    fn serve(&mut self, now: Instant) -> Instant {
        let slot = (0..self.slots).min_by_key(|slot| self.free[*slot]).unwrap();
        let done = self.free[slot].max(now) + self.service;
        self.free[slot] = done;
        done
    }
}

struct Simulation {
    now: Instant,
    servers: Vec<Server>,
    pickers: Vec<Picker>,
    in_flight: Vec<(Instant, usize, Picked, Instant)>,
    draws: Draws,
    served: Vec<usize>,
    latencies: Vec<Duration>,
}

impl Simulation {
    fn new(algorithm: Algorithm, callers: usize, services: &[Duration], slots: usize) -> Self {
        let now = Instant::now();
        Self {
            now,
            servers: services.iter().map(|service| Server::new(slots, *service, now)).collect(),
            pickers: (0..callers).map(|_| with(algorithm, (0..services.len()).map(endpoint), now)).collect(),
            in_flight: Vec::new(),
            draws: Draws::new(17),
            served: vec![0; services.len()],
            latencies: Vec::new(),
        }
    }

    /// One request from some caller every `gap`, for this many requests.
    fn run(&mut self, requests: usize, gap: Duration) {
        for _ in 0..requests {
            // Arrivals at random (Poisson), because real ones are.
            self.now += gap.mul_f64(-(1.0 - self.draws.unit()).ln());
            self.finish();
            let caller = self.draws.below(self.pickers.len() as u64) as usize;
            let random = self.draws.next();
            let chosen = self.pickers[caller].pick(self.now, random, &[]).unwrap();
            let server = number(&chosen);
            self.served[server] += 1;
            let done = self.servers[server].serve(self.now);
            self.latencies.push(done - self.now);
            self.in_flight.push((done, caller, chosen, self.now));
        }
    }

    fn finish(&mut self) {
        let mut at = 0;
        while at < self.in_flight.len() {
            if self.in_flight[at].0 > self.now {
                at += 1;
                continue;
            }
            let (done, caller, chosen, began) = self.in_flight.swap_remove(at);
            let server = number(&chosen);
            let busy = self.in_flight.iter().filter(|(_, _, other, _)| number(other) == server).count();
            chosen.member.report(done, busy as u32);
            self.pickers[caller].ended(&chosen, done, Outcome::Success, Some(done - began), 0);
        }
    }

    fn percentile(&mut self, percent: usize) -> Duration {
        self.latencies.sort_unstable();
        self.latencies[self.latencies.len() * percent / 100]
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_slow_server_does_not_set_the_tail_of_the_others() {
    let services = [10 * MS, 10 * MS, 10 * MS, 200 * MS];
    let tail = |algorithm| {
        let mut simulation = Simulation::new(algorithm, 10, &services, 4);
        simulation.run(10_000, MS);
        (simulation.percentile(95), simulation.served[3])
    };
    let (ewma, slow_share) = tail(Algorithm::PeakEwma);
    let (turns, _) = tail(Algorithm::RoundRobin);
    assert!(ewma < 30 * MS && turns > 200 * MS, "{ewma:?} {turns:?}");
    assert!(slow_share > 0 && slow_share < 500, "{slow_share}");
}

#[test]
fn equal_servers_share_evenly_and_the_tail_is_shorter_than_by_turns_of_many_callers() {
    let services = [10 * MS; 8];
    let run = |algorithm| {
        let mut simulation = Simulation::new(algorithm, 20, &services, 2);
        // 85 % of what the servers can do.
        simulation.run(20_000, Duration::from_micros(735));
        let (most, least) =
            (*simulation.served.iter().max().unwrap(), *simulation.served.iter().min().unwrap());
        (simulation.percentile(99), most as f64 / least as f64)
    };
    let (ewma, uneven) = run(Algorithm::PeakEwma);
    let (random, _) = run(Algorithm::Random);
    assert!(uneven < 1.2, "{uneven}");
    assert!(ewma < random, "{ewma:?} {random:?}");
}

#[test]
fn a_new_server_is_neither_flooded_nor_starved() {
    let mut simulation = Simulation::new(Algorithm::PeakEwma, 5, &[10 * MS; 4], 8);
    simulation.run(4000, MS);
    simulation.servers.push(Server::new(8, 10 * MS, simulation.now));
    simulation.served = vec![0; 5];
    for picker in &mut simulation.pickers {
        picker.update(&set((0..5).map(endpoint)), simulation.now);
    }
    simulation.run(100, MS);
    assert!((5..60).contains(&simulation.served[4]), "at first: {:?}", simulation.served);
    simulation.run(4900, MS);
    assert!((750..1300).contains(&simulation.served[4]), "later: {:?}", simulation.served);
}

#[test]
fn slow_start_lets_a_new_server_grow() {
    let mut simulation = Simulation::new(Algorithm::PeakEwma, 1, &[10 * MS; 3], 8);
    simulation.pickers[0]
        .set_policy(BalancePolicy { slow_start: Duration::from_secs(10), ..BalancePolicy::default() });
    simulation.run(1000, MS);
    simulation.servers.push(Server::new(8, 10 * MS, simulation.now));
    simulation.served = vec![0; 4];
    simulation.pickers[0].update(&set((0..4).map(endpoint)), simulation.now);
    simulation.run(1000, MS);
    let first_second = simulation.served[3];
    simulation.run(9000, MS);
    simulation.served = vec![0; 4];
    simulation.run(1000, MS);
    assert!(first_second < 120 && first_second > 10, "{first_second}");
    assert!(simulation.served[3] > 200, "{:?}", simulation.served);
}

#[test]
fn an_overloaded_zone_spills_what_it_cannot_carry_and_no_more() {
    // The caller's zone has one server, the other zone four; each can do 400 requests a second.
    let mut simulation = Simulation::new(Algorithm::PeakEwma, 4, &[10 * MS; 5], 4);
    let placed =
        |id: usize| Endpoint { locality: locality("r", if id == 0 { "a" } else { "b" }), ..endpoint(id) };
    for picker in &mut simulation.pickers {
        picker.set_locality(locality("r", "a"));
        picker.update(&set((0..5).map(placed)), simulation.now);
    }
    simulation.run(3000, 5 * MS);
    assert!(simulation.served[0] > 2900, "200 a second stay: {:?}", simulation.served);
    simulation.run(20_000, MS);
    simulation.served = vec![0; 5];
    simulation.latencies.clear();
    simulation.run(20_000, MS);
    let stays = simulation.served[0] as f64 / 20_000.0;
    assert!((0.2..0.4).contains(&stays), "of 1000 a second at most 400 stay, but most of these: {stays}");
    let tail = simulation.percentile(95);
    assert!(tail < 30 * MS, "{tail:?}");
    simulation.run(12_000, 5 * MS);
    simulation.served = vec![0; 5];
    simulation.run(2000, 5 * MS);
    assert!(simulation.served[0] > 1900, "200 a second stay again: {:?}", simulation.served);
}

#[test]
fn sixteen_workers_that_know_nothing_of_each_other_are_fair_to_three_servers() {
    let services = [10 * MS; 3];
    for (algorithm, uneven) in [
        (Algorithm::PeakEwma, 1.1),
        (Algorithm::LeastRequest, 1.1),
        (Algorithm::RoundRobin, 1.01),
        (Algorithm::Random, 1.1),
    ] {
        // Each server can do 400 requests a second; they get 80 % of that.
        let mut simulation = Simulation::new(algorithm, 16, &services, 4);
        simulation.run(20_000, Duration::from_micros(1042));
        let (most, least) =
            (*simulation.served.iter().max().unwrap(), *simulation.served.iter().min().unwrap());
        let ratio = most as f64 / least as f64;
        assert!(ratio <= uneven, "{algorithm:?}: {:?}", simulation.served);
        // Workers that all ran to the same server at once would queue there, whatever the totals.
        let (median, tail) = (simulation.percentile(50), simulation.percentile(99));
        assert!(median <= 15 * MS && tail <= 60 * MS, "{algorithm:?}: {median:?} {tail:?}");
    }
}

#[test]
fn a_burst_over_sixteen_workers_does_not_land_on_one_server() {
    let services = [10 * MS; 3];
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random]
    {
        let mut most = 0;
        for seed in 0..50 {
            let mut simulation = Simulation::new(algorithm, 16, &services, 4);
            simulation.draws = Draws::new(seed);
            // All within far less time than any answer takes: nobody has learned anything yet.
            simulation.run(48, Duration::from_nanos(1));
            most = most.max(*simulation.served.iter().max().unwrap());
        }
        // 16 is even; 4 sigma of independent choices above it is 29.
        assert!(most <= 29, "{algorithm:?}: {most}");
    }
}
