//! The daemon's end of a look: reads the child's events, and says what they mean for its task.

use super::event::{self, Reader};
use crate::domain::engine::HandOver;
use crate::domain::stream::{Cause, Diagnosis, SourceLook};
use crate::infrastructure::child::process::{OutputJudge, RunSignal};
use crate::util::secret::Secret;

/// Judges one look.
#[derive(Debug, Default)]
pub struct LookJudge {
    reader: Reader,
    /// It has said what came of it.
    done: bool,
    /// Why the source can't be had.
    refused: Option<Diagnosis>,
}

impl LookJudge {
    /// Nothing has been said yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl OutputJudge for LookJudge {
    fn stdout(&mut self, bytes: &[u8], tell: &mut dyn FnMut(RunSignal)) {
        let (done, refused) = (&mut self.done, &mut self.refused);
        self.reader.feed(bytes, event::read, |look| {
            // One look, one word.
            if std::mem::replace(done, true) {
                return;
            }
            let hand_over =
                |facts, why: String| RunSignal::HandOver(Box::new(HandOver { facts, why }));
            match look {
                SourceLook::Known(facts) => {
                    if facts.login_taken {
                        tell(RunSignal::LoginTaken);
                    }
                    tell(hand_over(Some(*facts), String::new()));
                }
                SourceLook::Refused { why, login_taken } => {
                    if login_taken {
                        tell(RunSignal::LoginTaken);
                    }
                    *refused = Some(why.clone());
                    tell(RunSignal::Failing(why));
                }
                SourceLook::Unclear(why) => {
                    let why = format!("what the source said of itself was not understood: {why}");
                    tell(hand_over(None, why));
                }
            }
        });
    }

    /// Words are for the log.
    fn line(&mut self, _: &str) -> Option<RunSignal> {
        None
    }

    fn asked_to_end(&mut self) {}

    fn verdict(&self, _: Option<i32>, _: Option<i32>, asked: bool) -> Option<Diagnosis> {
        self.refused.clone().or_else(|| {
            (!self.done && !asked).then(|| Diagnosis {
                cause: Cause::EngineCrash,
                detail: "the source could not be asked: the look at it ended without a word"
                    .to_owned(),
            })
        })
    }

    fn session_left(&self) -> Option<Secret> {
        None
    }

    fn busy(&self) -> Option<Secret> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stream::SourceFacts;
    use crate::infrastructure::relay::event;

    fn heard(look: &SourceLook) -> (Vec<RunSignal>, Option<Diagnosis>) {
        let (mut judge, mut said) = (LookJudge::new(), Vec::new());
        let line = event::write(look);
        for part in line.repeat(2).as_bytes().chunks(7) {
            judge.stdout(part, &mut |next| said.push(next));
        }
        assert_eq!(judge.line("anything"), None);
        assert_eq!(judge.session_left(), None);
        (said, judge.verdict(Some(0), None, false))
    }

    #[test]
    fn what_came_of_a_look_is_told_once() {
        for login_taken in [true, false] {
            let facts = SourceFacts {
                login_taken,
                ..SourceFacts::default()
            };
            let (said, verdict) = heard(&SourceLook::Known(Box::new(facts.clone())));
            let over = RunSignal::HandOver(Box::new(HandOver {
                facts: Some(facts),
                why: String::new(),
            }));
            let all = [RunSignal::LoginTaken, over];
            assert_eq!(said, all[usize::from(!login_taken)..]);
            assert_eq!(verdict, None);

            let why = Diagnosis {
                cause: Cause::SourceStream,
                detail: "no".to_owned(),
            };
            let (said, verdict) = heard(&SourceLook::Refused {
                why: why.clone(),
                login_taken,
            });
            let all = [RunSignal::LoginTaken, RunSignal::Failing(why.clone())];
            assert_eq!(said, all[usize::from(!login_taken)..]);
            assert_eq!(verdict, Some(why));
        }
        let (said, verdict) = heard(&SourceLook::Unclear("what?".to_owned()));
        assert!(matches!(&said[..], [RunSignal::HandOver(over)] if over.why.contains("what?")));
        assert_eq!(verdict, None);
    }

    #[test]
    fn a_look_that_ends_without_a_word_says_nothing_of_the_source() {
        let judge = LookJudge::new();
        let verdict = judge.verdict(None, Some(9), false).unwrap();
        assert_eq!(verdict.cause, Cause::EngineCrash);
        assert_eq!(judge.verdict(None, Some(15), true), None);
    }
}
