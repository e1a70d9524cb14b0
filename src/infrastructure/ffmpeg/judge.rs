//! The classifier as a child's judge.

use super::diagnosis::{Classifier, End, Signal};
use crate::domain::gateway::Launch;
use crate::domain::stream::Diagnosis;
use crate::infrastructure::child::process::{OutputJudge, Said};
use crate::util::secret::Secret;

/// Judges one run's output.
#[derive(Debug)]
pub struct Judge {
    classifier: Classifier,
    ends_by_nature: bool,
}

impl Judge {
    /// For a run of this command line.
    pub fn new(launch: &Launch) -> Self {
        Self {
            classifier: Classifier::for_argv(&launch.argv),
            ends_by_nature: launch.ends_by_nature,
        }
    }
}

impl OutputJudge for Judge {
    fn line(&mut self, line: &str) -> Option<Said> {
        self.classifier.line(line).map(|signal| match signal {
            Signal::SessionUp(took) => Said::SessionUp(took),
            Signal::Failing(diagnosis) => Said::Failing(diagnosis),
        })
    }

    fn asked_to_end(&mut self) {
        self.classifier.freeze();
    }

    fn verdict(&self, code: Option<i32>, signal: Option<i32>, asked: bool) -> Option<Diagnosis> {
        self.classifier.finish(&End {
            code,
            signal,
            ends_by_nature: self.ends_by_nature,
            asked_to_end: asked,
        })
    }

    fn session_left(&self) -> Option<Secret> {
        self.classifier.session_left()
    }
}
