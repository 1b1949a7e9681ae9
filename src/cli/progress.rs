//! Progress: a bar on a terminal, a plain line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::names::printable;
use super::table::bytes;

/// Shows how far a long operation is.
pub(crate) struct Meter {
    verb: &'static str,
    form: Form,
}

enum Form {
    Silent,
    Bar(ProgressBar),
    Lines { started: Instant, next: Duration },
}

/// Time between two plain lines.
const INTERVAL: Duration = Duration::from_secs(5);

impl Meter {
    /// `verb` is what is being done: "quantizing".
    pub(crate) fn new(verb: &'static str, quiet: bool) -> Self {
        let form = if quiet {
            Form::Silent
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            let style =
                ProgressStyle::with_template("{prefix} [{bar:32}] {percent:>3}% {bytes_per_sec} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_prefix(verb);
            Form::Bar(bar)
        } else {
            Form::Lines { started: Instant::now(), next: INTERVAL }
        };
        Meter { verb, form }
    }

    /// `done` of `total` bytes of the source are through; `tensor` is at work.
    pub(crate) fn show(&mut self, done: u64, total: u64, tensor: &str) {
        match &mut self.form {
            Form::Silent => {}
            Form::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(tensor.to_owned());
            }
            Form::Lines { started, next } => {
                if started.elapsed() >= *next {
                    eprintln!("{}: {} of {}, {tensor}", self.verb, bytes(done), bytes(total));
                    *next = started.elapsed() + INTERVAL;
                }
            }
        }
    }

    /// `done` of `total` tensors are through; `tensor` is at work.
    pub(crate) fn count(&mut self, done: u64, total: u64, tensor: &str) {
        match &mut self.form {
            Form::Silent => {}
            Form::Bar(bar) => {
                let style = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len} {wide_msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(printable(tensor));
            }
            Form::Lines { started, next } => {
                if started.elapsed() >= *next {
                    eprintln!("{}: {done} of {total} tensors, {}", self.verb, printable(tensor));
                    *next = started.elapsed() + INTERVAL;
                }
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
