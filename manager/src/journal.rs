//! What happened, in words, for those who watch: `GET /v1/events` and `manager events`.
//!
//! The last events are kept in memory, so that whoever comes late sees what led to the present. Writing never waits: a
//! reader that is too slow misses events and is told how many. The log holds the same lines for good.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use wire::ClusterEvent;

use self::ration::Rations;

mod ration;

/// Events that are kept.
const KEPT: usize = 1_000;
/// Events that may wait for a reader.
const WAITING: usize = 256;

/// The node's journal; clones write to the same.
#[derive(Debug, Clone)]
pub struct Journal {
    node: Arc<str>,
    kept: Arc<Mutex<VecDeque<ClusterEvent>>>,
    rations: Arc<Mutex<Rations>>,
    news: broadcast::Sender<ClusterEvent>,
}

impl Journal {
    /// An empty journal of `node`.
    pub fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            kept: Arc::default(),
            rations: Arc::default(),
            news: broadcast::Sender::new(WAITING),
        }
    }

    /// Notes that `text` has happened to `subject`: a VM's id, `vip`, a peer's name.
    pub fn write(&self, subject: &str, text: &str) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event = ClusterEvent {
            number: kept.back().map_or(1, |last| last.number + 1),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            node: self.node.to_string(),
            subject: subject.to_owned(),
            text: text.to_owned(),
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Under the lock, so that readers get them in order; nobody may be reading.
        let _ = self.news.send(event);
    }

    /// As [`Journal::write`], for what strangers can cause as often as they like: of each `kind`, eight at once and then
    /// one in 30 s. The next that is written says how many were not.
    pub fn write_rationed(&self, now: Instant, kind: &str, subject: &str, text: &str) {
        let ration = self.rations.lock().unwrap_or_else(PoisonError::into_inner).take(now, kind);
        match ration {
            Some(0) => self.write(subject, text),
            Some(unsaid) => self.write(subject, &format!("{text} (and {unsaid} more of this kind before)")),
            None => {}
        }
    }

    /// What is kept, and all that follows.
    pub fn read(&self) -> (Vec<ClusterEvent>, broadcast::Receiver<ClusterEvent>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.news.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Journal, KEPT};

    #[tokio::test]
    async fn a_late_reader_gets_what_was_and_what_comes_without_a_gap() {
        let journal = Journal::new("a");
        for n in 0..KEPT + 5 {
            journal.write("vip", &n.to_string());
        }
        let (kept, mut news) = journal.read();
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0].number, kept[0].text.as_str()), (6, "5"));
        journal.write("a/svc-3", "died");
        let next = news.recv().await.unwrap();
        assert_eq!(next.number, kept.last().unwrap().number + 1);
        assert_eq!((next.node.as_str(), next.subject.as_str()), ("a", "a/svc-3"));
    }

    #[test]
    fn noise_does_not_drive_out_what_matters() {
        let (journal, start) = (Journal::new("a"), Instant::now());
        journal.write("vip", "active -> standby: what matters");
        // Three a second for an hour.
        for n in 0..10_800_u32 {
            let now = start + Duration::from_millis(333) * n;
            journal.write_rationed(now, "answers ARP", "vip", &format!("02:{n} answers ARP"));
        }
        let (kept, _) = journal.read();
        assert_eq!(kept[0].text, "active -> standby: what matters");
        assert!((100..200).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[8].text, "02:7 answers ARP");
        assert_eq!(kept[9].text, "02:91 answers ARP (and 83 more of this kind before)");
    }
}
