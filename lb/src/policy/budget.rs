//! The retry budget: a slow service is not buried under the retries of the requests that it keeps waiting.
//!
//! As in Finagle's `RetryBudget`: each request deposits a share of a retry, a minimum rate is deposited in any
//! case, and each retry withdraws one. What was deposited more than ten seconds ago is gone, so a quiet hour
//! does not pay for a storm.
//!
//! A request costs nothing here: deposits are worked out when a retry asks, from the number of requests so
//! far. It refuses to know what is retried and why.

/// How long a deposit is good for.
const KEPT_SECONDS: u64 = SLOTS as u64;
const SLOTS: usize = 10;

/// Units of a retry: a thousandth of a percent, so that milliseconds and percents add up without rounding.
const UNITS: u64 = 100_000;

/// More requests than this between two retries say no more. It keeps the products small.
const MAX_REQUESTS: u64 = 1 << 32;

/// A retry budget.
#[derive(Debug, Clone)]
pub struct Budget {
    percent: u32,
    min_per_second: u32,
    requests_total: u64,
    now_ms: u64,
    /// In units; never more than the deposits of the last ten seconds.
    balance: u64,
    /// What requests deposited in each of the last seconds, in units.
    deposits: [u64; SLOTS],
}

impl Budget {
    /// A budget of `percent` retries per 100 requests and `min_per_second` more, on a clock that shows
    /// `now_ms`. It begins with ten seconds' worth of the minimum, and no request counted.
    pub const fn new(percent: u32, min_per_second: u32, now_ms: u64) -> Self {
        Self {
            percent,
            min_per_second,
            requests_total: 0,
            now_ms,
            balance: reserve(min_per_second),
            deposits: [0; SLOTS],
        }
    }

    /// From now on it is of this size. What was deposited stays, within the new limits.
    pub const fn reconfigure(&mut self, percent: u32, min_per_second: u32) {
        self.percent = percent;
        self.min_per_second = min_per_second;
    }

    /// Takes one retry, if there is one. `requests_total` is the number of requests so far; when it is less
    /// than the last time, it was counted anew, or two threads looked at once: nothing is deposited.
    pub fn withdraw(&mut self, now_ms: u64, requests_total: u64) -> bool {
        self.deposit(now_ms, requests_total);
        let enough = self.balance >= UNITS;
        if enough {
            self.balance -= UNITS;
        }
        enough
    }

    /// How many retries there were after the last [`Budget::withdraw`].
    #[cfg(test)]
    pub const fn left(&self) -> u64 {
        self.balance / UNITS
    }

    fn deposit(&mut self, now_ms: u64, requests_total: u64) {
        let difference = requests_total.wrapping_sub(self.requests_total);
        // A total that wrapped has grown a little; one that fell has seemingly grown by nearly all there is.
        let grown = if difference > u64::MAX / 2 { 0 } else { difference.min(MAX_REQUESTS) };
        self.requests_total = requests_total;
        let from_requests = grown.saturating_mul(u64::from(self.percent) * (UNITS / 100));

        let since_ms = self.now_ms;
        self.now_ms = now_ms.max(since_ms);
        let elapsed_ms = self.now_ms - since_ms;
        let from_time = elapsed_ms.min(KEPT_SECONDS * 1000) * u64::from(self.min_per_second) * (UNITS / 1000);

        self.spread(from_requests, since_ms);
        let kept: u64 = self.deposits.iter().fold(0, |sum, &deposit| sum.saturating_add(deposit));
        let most = kept.saturating_add(reserve(self.min_per_second));
        self.balance = self.balance.saturating_add(from_requests).saturating_add(from_time).min(most);
    }

    /// Notes a deposit that came in evenly since then, and forgets those that are too old.
    fn spread(&mut self, units: u64, since_ms: u64) {
        let (first, last) = (since_ms / 1000, self.now_ms / 1000);
        let seconds = last - first + 1;
        for second in last.saturating_sub(KEPT_SECONDS - 1).max(first)..=last {
            let slot = &mut self.deposits[slot_of(second)];
            if second > first {
                *slot = 0;
            }
            *slot = slot.saturating_add(units / seconds);
        }
        let slot = &mut self.deposits[slot_of(last)];
        *slot = slot.saturating_add(units % seconds);
    }
}

const fn reserve(min_per_second: u32) -> u64 {
    KEPT_SECONDS * min_per_second as u64 * UNITS
}

fn slot_of(second: u64) -> usize {
    usize::try_from(second % KEPT_SECONDS).unwrap_or(0)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
