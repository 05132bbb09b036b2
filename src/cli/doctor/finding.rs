//! What the doctor says of one item: a verdict, and all that somebody needs who is to decide about it.
//!
//! It never promises an effect: what a change brings on a machine is what `loadtest/` measures there.

/// How an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It will fail, or fails already.
    Problem,
    /// It works, and may work better.
    Advice,
    /// It could not be read.
    Unknown,
    /// As it should be.
    Ok,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Advice => "advice",
            Self::Unknown => "unknown",
            Self::Ok => "ok",
        }
    }
}

/// What the doctor says of one item.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its name.
    pub item: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub value: String,
    /// What is wanted.
    pub wanted: String,
    /// Why that is wanted.
    pub why: String,
    /// How to see for oneself, before and after.
    pub verify: String,
    /// What a change may cost.
    pub risk: String,
    /// The exact command, or what to write where; `None`: there is nothing to do.
    pub command: Option<String>,
    /// What `--fix` does about it; `None`: a person decides.
    pub change: Option<Change>,
}

/// A change that is safe: it takes nothing from anybody and can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A kernel setting of `files::SETTINGS`.
    Setting(&'static str),
    /// The limit of open files for logins.
    Limits,
    /// The unit of systemd, written and not started.
    Unit,
}

/// The item without a verdict of its own: its words are the same however it is.
pub struct Item {
    /// Its name.
    pub name: &'static str,
    /// What is wanted.
    pub wanted: &'static str,
    /// Why.
    pub why: &'static str,
    /// How to see for oneself.
    pub verify: &'static str,
    /// What a change may cost.
    pub risk: &'static str,
}

impl Item {
    fn finding(&self, verdict: Verdict, value: String) -> Finding {
        Finding {
            item: self.name,
            verdict,
            value,
            wanted: self.wanted.to_owned(),
            why: self.why.to_owned(),
            verify: self.verify.to_owned(),
            risk: self.risk.to_owned(),
            command: None,
            change: None,
        }
    }

    /// As it should be.
    pub fn ok(&self, value: impl Into<String>) -> Finding {
        self.finding(Verdict::Ok, value.into())
    }

    /// It may work better by this command.
    pub fn advice(&self, value: impl Into<String>, command: impl Into<String>) -> Finding {
        let found = self.finding(Verdict::Advice, value.into());
        Finding { command: Some(command.into()), ..found }
    }

    /// It fails without this command.
    pub fn problem(&self, value: impl Into<String>, command: impl Into<String>) -> Finding {
        let found = self.finding(Verdict::Problem, value.into());
        Finding { command: Some(command.into()), ..found }
    }

    /// It could not be read.
    pub fn unknown(&self, value: impl Into<String>) -> Finding {
        self.finding(Verdict::Unknown, value.into())
    }
}

impl Finding {
    /// With other words for what is wanted.
    pub fn wanted(mut self, wanted: impl Into<String>) -> Self {
        self.wanted = wanted.into();
        self
    }

    /// With a sentence more about why.
    pub fn because(mut self, more: impl AsRef<str>) -> Self {
        self.why = format!("{} {}", self.why, more.as_ref());
        self
    }

    /// With another way to see for oneself.
    pub fn seen_by(mut self, verify: impl Into<String>) -> Self {
        self.verify = verify.into();
        self
    }

    /// With a change that `--fix` may make.
    pub fn fixable(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }
}
