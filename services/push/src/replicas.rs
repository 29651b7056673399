//! What replicas know of a record, by its receipt: this datacenter's first, then everyone's.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};
use trunkline_placement::replicas;
use trunkline_ports::{Class, Host, Peer};
use trunkline_runtime::Backoff;
use trunkline_types::{DatacenterName, MessageId, Receipt};
use trunkline_wire::internal::{ResolveRequest, ResolveResponse, store_service};
use trunkline_wire::v1::AckLevel;

use crate::progress::Outcome;
use crate::trace;

/// A replica that takes longer is passed over for this time.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Once the decision is known, the answers about other disks are waited for no longer than this.
const LINGER: Duration = Duration::from_millis(300);
const ASK_AGAIN_FIRST: Duration = Duration::from_millis(50);
const ASK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// What all replicas that answered say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Decided: with this ID, or without one (0) for its topic is deleted; a duplicate: the first message has this ID.
    pub(crate) decided: Option<MessageId>,
    pub(crate) duplicate: bool,
    /// Its log is closed and ended before it.
    pub(crate) never_stored: bool,
    /// It had an ID, and is kept no more.
    pub(crate) expired: bool,
    /// Where it is on disk; of those who know that it is a duplicate, where the first message is.
    pub(crate) on_disk: BTreeSet<DatacenterName>,
    pub(crate) first_on_disk: BTreeSet<DatacenterName>,
    pub(crate) answered: usize,
    pub(crate) asked: usize,
}

impl Known {
    fn take(&mut self, datacenter: DatacenterName, answer: &ResolveResponse) {
        self.answered += 1;
        self.duplicate |= answer.duplicate;
        if answer.on_disk {
            let of = if answer.duplicate { &mut self.first_on_disk } else { &mut self.on_disk };
            of.insert(datacenter);
        }
        // Who does not know the first message (any more) leaves that to others.
        if answer.decided && (!answer.duplicate || answer.message_id > 0) {
            self.decided = Some(MessageId(answer.message_id));
        }
        self.never_stored |= answer.beyond_end;
        self.expired |= answer.expired;
    }

    /// Where the message is on disk that has, or will have, the ID.
    fn holders(&self) -> &BTreeSet<DatacenterName> {
        if self.duplicate { &self.first_on_disk } else { &self.on_disk }
    }

    pub(crate) fn datacenters(&self) -> Vec<String> {
        self.holders().iter().map(|datacenter| datacenter.0.clone()).collect()
    }
}

/// Asks every replica of the receipt's bucket at once and puts together what they say.
pub(crate) async fn ask(host: &Host, receipt: &Receipt, deadline: Instant) -> Known {
    let map = host.map();
    let mut until = deadline.min(Instant::now() + ANSWER_MAX);
    let request = ResolveRequest {
        envelope: Some(host.envelope()),
        log: Some(receipt.log.into()),
        sequence: receipt.sequence.0,
        topic_id: receipt.topic.0,
        checksum: receipt.checksum,
    };
    let mut asking: FuturesUnordered<_> = replicas(&map, receipt.log.bucket)
        .into_iter()
        .map(|node| {
            let (request, peer) = (&request, Peer::new(node.address.as_str(), Class::Calls));
            async move {
                let options = trace::until(until);
                let answer = host.network.call(&peer, store_service::RESOLVE, request, options).await;
                answer.map(|answer| (node.datacenter.clone(), answer))
            }
        })
        .collect();
    let mut known = Known { asked: asking.len(), ..Known::default() };
    while let Ok(Some(answer)) = timeout_at(until, asking.next()).await {
        // A replica that does not answer is not counted, and that is what it means.
        let Ok((datacenter, answer)) = answer else { continue };
        known.take(datacenter, &answer);
        if known.decided.is_some() {
            if known.holders().len() == map.datacenters.len() {
                break;
            }
            until = until.min(Instant::now() + LINGER);
        }
    }
    known
}

/// Asks until a stored record has reached its level; `None` when the deadline comes first.
/// What it returns is what its coordinator would have answered last.
pub(crate) async fn follow(
    host: &Host,
    receipt: &Receipt,
    level: AckLevel,
    deadline: Instant,
) -> Option<Vec<Outcome>> {
    let mut backoff = Backoff::new(ASK_AGAIN_FIRST, ASK_AGAIN_MAX);
    while Instant::now() < deadline {
        let known = ask(host, receipt, deadline).await;
        if let Some(outcomes) = outcomes(&known, level, host.map().datacenters.len()) {
            return Some(outcomes);
        }
        let pause = backoff.next(&host.process);
        tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
    }
    None
}

fn outcomes(known: &Known, level: AckLevel, datacenters: usize) -> Option<Vec<Outcome>> {
    let id = known.decided?;
    let ordered = if known.duplicate { Outcome::Duplicate(Some(id)) } else { Outcome::Ordered(id) };
    if id.0 == 0 || level <= AckLevel::Ordered {
        return Some(vec![ordered]);
    }
    (known.holders().len() == datacenters).then(|| vec![ordered, Outcome::Everywhere(known.datacenters())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(decided: Option<u64>, on_disk: &[&str]) -> Known {
        let on_disk = on_disk.iter().map(|&name| name.into()).collect();
        Known { decided: decided.map(MessageId), on_disk, ..Known::default() }
    }

    #[test]
    fn of_a_duplicate_it_counts_where_the_first_message_is_and_not_where_it_is_itself() {
        let mut known = Known::default();
        let own = ResolveResponse { on_disk: true, ..ResolveResponse::default() };
        let forgotten = ResolveResponse { decided: true, duplicate: true, ..ResolveResponse::default() };
        let first = ResolveResponse { on_disk: true, message_id: 7, ..forgotten };
        known.take("mci".into(), &own);
        known.take("nyc".into(), &forgotten);
        assert!(outcomes(&known, AckLevel::Ordered, 3).is_none() && known.duplicate);
        known.take("sea".into(), &first);
        known.take("nyc".into(), &forgotten);
        assert!(matches!(
            outcomes(&known, AckLevel::Ordered, 3).as_deref(),
            Some([Outcome::Duplicate(Some(MessageId(7)))])
        ));
        assert!(outcomes(&known, AckLevel::Everywhere, 3).is_none());
        assert_eq!(known.datacenters(), ["sea"]);
        known.take("mci".into(), &first);
        known.take("nyc".into(), &first);
        let Some(answers) = outcomes(&known, AckLevel::Everywhere, 3) else { panic!("it is everywhere") };
        assert!(matches!(&answers[1], Outcome::Everywhere(all) if all.len() == 3));
    }

    #[test]
    fn a_level_is_reached_only_by_what_replicas_say() {
        let all = ["mci", "nyc", "sea"];
        assert!(outcomes(&known(None, &all), AckLevel::Ordered, 3).is_none());
        assert!(matches!(
            outcomes(&known(Some(4), &["nyc"]), AckLevel::Ordered, 3).as_deref(),
            Some([Outcome::Ordered(MessageId(4))])
        ));
        assert!(outcomes(&known(Some(4), &["nyc", "mci"]), AckLevel::Everywhere, 3).is_none());
        assert!(matches!(
            outcomes(&known(Some(4), &all), AckLevel::Everywhere, 3).as_deref(),
            Some([Outcome::Ordered(MessageId(4)), Outcome::Everywhere(where_)]) if *where_ == all
        ));
        assert!(matches!(
            outcomes(&known(Some(0), &[]), AckLevel::Everywhere, 3).as_deref(),
            Some([Outcome::Ordered(MessageId(0))])
        ));
    }
}
