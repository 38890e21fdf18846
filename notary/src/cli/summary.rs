//! What thousands of verdicts come to.

use super::judge::Judged;
use super::show::name_and_why;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Counts by verdict and by the refusals' names.
#[derive(Debug, Default)]
pub struct Summary {
    holds: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    unread: u64,
    /// Of those that hold.
    with_resource: u64,
}

impl Summary {
    /// Counts one.
    pub fn count(&mut self, judged: &Judged) {
        match judged {
            Judged::Holds(verdict) => {
                let erased = if verdict.erased.is_some() { " ERASED" } else { "" };
                *self.holds.entry(format!("{}{erased}", verdict.grade)).or_default() += 1;
                self.with_resource += u64::from(verdict.resource_checked);
            }
            Judged::Refused(refusal) => *self.refused.entry(name_and_why(refusal).0).or_default() += 1,
            Judged::Unread(_) => self.unread += 1,
        }
    }

    /// 0 only if all hold, and there were any.
    pub fn code(&self) -> ExitCode {
        match (self.refused.is_empty(), self.unread, self.holds.is_empty()) {
            (false, _, _) => ExitCode::FAILURE,
            (true, 0, false) => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        }
    }

    /// In lines: a line a name, then the sum.
    pub fn text(&self, took: Duration) -> String {
        let (holds, refused): (u64, u64) = (self.holds.values().sum(), self.refused.values().sum());
        let all = holds + refused + self.unread;
        let line = |(name, count): (&String, &u64)| format!("{count:>9} {name}\n");
        let mut text: String = self.holds.iter().map(line).collect();
        text.extend(self.refused.iter().map(|(name, count)| format!("{count:>9} REFUSED {name}\n")));
        if self.unread > 0 {
            text.push_str(&format!("{:>9} could not be read\n", self.unread));
        }
        let speed = all as f64 / took.as_secs_f64().max(0.001);
        let with = self.with_resource;
        text + &format!(
            "{all:>9} receipts in {:.1} s ({speed:.0}/s): {holds} hold, {with} of them checked with their resource",
            took.as_secs_f64()
        )
    }
}
