//! The half that answers.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use trunkline_ports::{Responder, Span};
use trunkline_types::{NodeId, Receipt, TopicId, TopicName};
use trunkline_wire::Status;
use trunkline_wire::status::{from_message, is_not_stored};
use trunkline_wire::v1::{PushResult, PushStreamResponse, PushStreamResult};

use super::{Note, Place};
use crate::handle::Server;
use crate::link::Told;
use crate::progress::{Outcome, Progress, Step};
use crate::push::{Refusal, refusal};
use crate::upload::Upload;

/// Results that one response carries at most.
const RESULTS_MAX: usize = 1_000;

struct Begun {
    topic: (TopicName, TopicId),
    node: NodeId,
    progress: Progress,
    since: Instant,
    until: Instant,
    _place: Place,
    _span: Option<Span>,
    _upload: Option<Upload>,
}

type Asked = BoxFuture<'static, (u64, Option<Vec<Outcome>>)>;

pub(super) struct Writer<'a> {
    server: &'a Server,
    noted: mpsc::Receiver<Note>,
    told: mpsc::Receiver<Told>,
    broken: CancellationToken,
    /// By index.
    begun: BTreeMap<u64, Begun>,
    /// The same by deadline: a large message has a later one than those behind it.
    deadlines: BTreeSet<(Instant, u64)>,
    asking: FuturesUnordered<Asked>,
    results: Vec<PushStreamResult>,
    ended: Option<Result<(), Status>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        server: &'a Server,
        noted: mpsc::Receiver<Note>,
        told: mpsc::Receiver<Told>,
        broken: CancellationToken,
    ) -> Self {
        Self {
            server,
            noted,
            told,
            broken,
            begun: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            asking: FuturesUnordered::new(),
            results: Vec::new(),
            ended: None,
        }
    }

    pub(super) async fn run(mut self, responses: Responder<PushStreamResponse>) -> Result<(), Status> {
        loop {
            self.wait().await;
            self.gather();
            if !self.results.is_empty() {
                let response = PushStreamResponse { results: std::mem::take(&mut self.results) };
                if responses.send(&response).await.is_err() {
                    return Err(Status::cancelled("the caller is gone"));
                }
            }
            if self.begun.is_empty()
                && let Some(ended) = self.ended.take()
            {
                return ended;
            }
        }
    }

    /// Waits for one event. Notes come first: nothing is told of a message that was not noted before.
    async fn wait(&mut self) {
        let overdue = self.deadlines.first().map(|&(until, _)| until);
        tokio::select! {
            biased;
            Some(note) = self.noted.recv() => self.note(note),
            Some(told) = self.told.recv() => self.step(told.index, told.outcome),
            Some((index, outcomes)) = self.asking.next() => {
                for outcome in outcomes.into_iter().flatten() {
                    self.step(index, outcome);
                }
            }
            () = at(overdue) => self.give_up(),
        }
    }

    /// Takes what is readily waiting, so that it shares a response.
    fn gather(&mut self) {
        while self.results.len() < RESULTS_MAX {
            if let Ok(note) = self.noted.try_recv() {
                self.note(note);
            } else if let Ok(told) = self.told.try_recv() {
                self.step(told.index, told.outcome);
            } else {
                return;
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Begun { index, topic, node, progress, since, until, place, span, upload } => {
                let (_place, _span, _upload) = (place, span, upload);
                let begun = Begun { topic, node, progress, since, until, _place, _span, _upload };
                self.deadlines.insert((until, index));
                self.begun.insert(index, begun);
            }
            Note::Refused { index, result } => {
                self.results.push(PushStreamResult { index, result: Some(result) })
            }
            Note::Ended(how) => self.ended = Some(how),
        }
    }

    fn step(&mut self, index: u64, outcome: Outcome) {
        let Some(begun) = self.begun.get_mut(&index) else { return };
        if matches!(outcome, Outcome::Lost) {
            self.broken.cancel();
        }
        match begun.progress.step(outcome) {
            Step::Wait => {}
            Step::Done(result) => self.done(index, result),
            Step::Ask(receipt) => self.ask(index, receipt),
        }
    }

    fn ask(&mut self, index: u64, receipt: Receipt) {
        let Some(begun) = self.begun.get(&index) else { return };
        let (server, level, until) = (self.server.clone(), begun.progress.level(), begun.until);
        self.asking.push(Box::pin(async move { (index, server.follow(receipt, level, until).await) }));
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some((_, index)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            let result = self.begun.get(&index).map(|begun| begun.progress.overdue());
            self.done(index, result.unwrap_or_default());
        }
    }

    fn done(&mut self, index: u64, result: PushResult) {
        let Some(begun) = self.begun.remove(&index) else { return };
        self.deadlines.remove(&(begun.until, index));
        self.server.metrics.answered(begun.progress.level(), &result, begun.since);
        if let Some(error) = result.error.as_ref().map(from_message)
            && is_not_stored(&error)
        {
            self.refused(&begun, &error);
        }
        self.results.push(PushStreamResult { index, result: Some(result) });
    }

    /// What a certain refusal means for the messages that follow.
    fn refused(&self, begun: &Begun, why: &Status) {
        let (name, topic) = &begun.topic;
        match refusal(why) {
            Refusal::TopicEnded => self.server.topics.forget(name, *topic),
            Refusal::StoreUnfit => {
                if self.server.coordinators.instead_of(begun.node, topic.bucket()).is_some() {
                    self.broken.cancel();
                }
            }
            // The link knows it, and the reader asks the link.
            Refusal::StoreGone | Refusal::Final => {}
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => futures::future::pending().await,
    }
}
