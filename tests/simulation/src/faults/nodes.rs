//! Faults of single nodes.

use trunkline_testkit::network::Side;
use trunkline_types::{Bucket, Role};

use super::Kind;
use super::inject::Injector;

const DAY_MS: u64 = 86_400_000;

impl Injector {
    pub(super) async fn crash(&self) {
        // Stores and voters twice as often as those that keep nothing.
        let stateful = !self.random.one_in(3);
        if let Some(node) = self.any_node(|node| node.role.is_stateful() == stateful) {
            let away_ms = if self.random.one_in(4) { 50 } else { 6_000 };
            self.crash_for(Kind::Crash, &node, 1, away_ms).await;
        }
    }

    async fn crash_for(&self, kind: Kind, node: &str, least_ms: u64, most_ms: u64) {
        let begun = self.begins(kind, [node.to_owned()], [], node);
        self.take_down(node);
        self.wait(least_ms, most_ms).await;
        self.bring_up(node);
        self.ends(begun);
    }

    pub(super) async fn pause(&self) {
        if let Some(node) = self.any_node(|_| true) {
            self.pause_for(Kind::Pause, &node, 50, 6_000).await;
        }
    }

    async fn pause_for(&self, kind: Kind, node: &str, least_ms: u64, most_ms: u64) {
        let begun = self.begins(kind, [node.to_owned()], [], &format!("{node} stands still"));
        let process = self.cluster().process(node).cloned();
        self.busy().insert(node.to_owned());
        process.iter().for_each(|process| process.pause());
        self.wait(least_ms, most_ms).await;
        process.iter().for_each(|process| process.resume());
        self.busy().remove(node);
        self.ends(begun);
    }

    /// Long enough that the others forget what it lacks.
    pub(super) async fn away(&self, role: Role, kind: Kind) {
        let alike = |other: Role| match role {
            Role::MessageStore => other == Role::MessageStore,
            _ => matches!(other, Role::MessageId | Role::SubscriptionPosition),
        };
        if let Some(node) = self.any_node(|node| alike(node.role)) {
            self.crash_for(kind, &node, 8_000, 18_000).await;
        }
    }

    /// The first-ranked store of some bucket: most likely relays something now.
    pub(super) async fn relay_switch(&self) {
        let relays: Vec<String> = {
            let cluster = self.cluster();
            let map = cluster.map();
            let buckets = 0..u16::try_from(map.buckets).unwrap_or(u16::MAX);
            let datacenter = self.any_datacenter().into();
            let first =
                |bucket| trunkline_placement::replicas_in(map, Bucket(bucket), &datacenter).first().copied();
            buckets.filter_map(first).map(|node| node.name.clone()).collect()
        };
        if let Some(node) = self.any_node(|node| relays.contains(&node.name)) {
            match self.random.below(3) {
                0 => self.crash_for(Kind::RelaySwitch, &node, 300, 4_000).await,
                1 => self.pause_for(Kind::RelaySwitch, &node, 300, 4_000).await,
                _ => self.cut_from_others(Kind::RelaySwitch, &node).await,
            }
        }
    }

    pub(super) async fn leader_change(&self) {
        let leaders = self.rare.leaders();
        if let Some(node) = self.any_node(|node| leaders.contains(&node.name)) {
            match self.random.below(3) {
                0 => self.crash_for(Kind::LeaderChange, &node, 200, 4_000).await,
                1 => self.pause_for(Kind::LeaderChange, &node, 500, 4_000).await,
                _ => self.cut_from_others(Kind::LeaderChange, &node).await,
            }
        }
    }

    async fn cut_from_others(&self, kind: Kind, node: &str) {
        let begun = self.begins(kind, [node.to_owned()], [], &format!("{node} is cut off"));
        let (node, others) = (Side::node(node), Side::Others);
        self.world.network.cut(&node, &others);
        self.wait(500, 5_000).await;
        self.world.network.heal(&node, &others);
        self.ends(begun);
    }

    pub(super) async fn clock(&self) {
        let Some(node) = self.any_node(|_| true) else { return };
        let by = [1_000, 30_000, 3_600_000, 100 * DAY_MS][crate::plan::index(&self.random, 4)];
        let by = i64::try_from(self.random.below(by)).unwrap_or(0);
        let by = if self.random.one_in(2) { by } else { -by };
        let begun = self.begins(Kind::Clock, [], [], &format!("{node} is off by {by} ms"));
        if let Some(process) = self.cluster().process(&node) {
            process.set_clock_offset_ms(by);
        }
        self.wait(500, 8_000).await;
        if let Some(process) = self.cluster().process(&node) {
            process.set_clock_offset_ms(0);
        }
        self.ends(begun);
    }
}
