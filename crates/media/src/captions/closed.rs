//! Closed captions: text that is hidden in the pictures of a video, as CEA-608 (the four channels of
//! line 21) and CEA-708 (numbered services of DTVCC), both in the `cc_data` of ATSC A/53.
//!
//! [`carriage`] finds `cc_data` in packets that have not been decoded, `line21` and `dtvcc` follow
//! the screen of one channel or service, and `timeline` makes cues of what it shows. Everything is
//! untrusted: every state has a fixed size, and time is linear in the input.

pub mod carriage;
mod characters;
mod dtvcc;
mod languages;
mod line21;
mod screen;
mod timeline;

use std::{collections::BTreeMap, fmt};

pub use self::languages::languages;
use self::{
    dtvcc::{Packets, Service},
    line21::Line21,
    timeline::Timeline,
};
use super::{CaptionError, Captions, Cue, Window, markup, parse_budget::ParseBudget, push};

/// Number of channels of CEA-608.
const LINE21_CHANNELS: u8 = 4;
/// Highest number of a service of CEA-708.
const SERVICE_MAX: u8 = 63;
/// Milliseconds without data after which a decoder erases a channel's screen (CEA-608-E, annex C).
const IDLE_MS_MAX: i64 = 16_000;

/// A source of closed captions. Its name is that of HLS (`INSTREAM-ID`), for example `CC1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// A channel of CEA-608, 1 to 4.
    Line21(u8),
    /// A service of CEA-708, 1 to 63.
    Service(u8),
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line21(number) => write!(f, "CC{number}"),
            Self::Service(number) => write!(f, "SERVICE{number}"),
        }
    }
}

impl Channel {
    /// Parses the name.
    pub fn parse(name: &str) -> Option<Self> {
        let number = |text: &str, most: u8| {
            let number: u8 = text.parse().ok()?;
            (1..=most).contains(&number).then_some(number)
        };
        let found = match (name.strip_prefix("CC"), name.strip_prefix("SERVICE")) {
            (Some(text), _) => number(text, LINE21_CHANNELS).map(Self::Line21),
            (_, Some(text)) => number(text, SERVICE_MAX).map(Self::Service),
            _ => None,
        };
        found.filter(|channel| channel.to_string() == name)
    }
}

/// How a screen changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    #[default]
    None,
    /// Text was added to the screen.
    Text,
    /// The screen changed in another way.
    Screen,
}

/// The screen of one channel.
enum Screen {
    Line21(Line21),
    Service(Packets, Box<Service>),
}

impl Screen {
    fn new(channel: Channel) -> Self {
        match channel {
            Channel::Line21(number) => Self::Line21(Line21::new(number)),
            Channel::Service(number) => {
                Self::Service(Packets::default(), Box::new(Service::new(number)))
            }
        }
    }

    /// Reads a triplet of `cc_data`; `None` if it does not concern the channel.
    fn read(&mut self, triplet: [u8; 3]) -> Option<Change> {
        match self {
            Self::Line21(line21) => line21.read(triplet),
            Self::Service(packets, service) => {
                let packet = packets.read(triplet)?;
                let number = service.number;
                let blocks = dtvcc::blocks(&packet).filter(|(other, _)| *other == number);
                blocks.map(|(_, block)| service.read(block)).max()
            }
        }
    }

    fn text(&self) -> (String, Option<u32>) {
        match self {
            Self::Line21(line21) => line21.text(),
            Self::Service(_, service) => (service.text(), None),
        }
    }

    fn erase(&mut self) {
        match self {
            Self::Line21(line21) => line21.erase(),
            Self::Service(_, service) => service.erase(),
        }
    }
}

/// Decodes one channel. The pictures must come in the order of their presentation.
pub struct Decoder {
    channel: Channel,
    screen: Screen,
    timeline: Timeline,
    /// The time of the last data of the channel.
    last_data: i64,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder whose screen is empty.
    pub fn new(channel: Channel) -> Self {
        let (screen, timeline) = (Screen::new(channel), Timeline::default());
        Self { channel, screen, timeline, last_data: 0 }
    }

    /// Reads the `cc_data` of the picture at `at`, in milliseconds.
    pub fn picture(&mut self, at: i64, cc_data: &[[u8; 3]]) {
        let idle = self.last_data.saturating_add(IDLE_MS_MAX);
        if at > idle && self.timeline.shows() {
            self.screen.erase();
            self.timeline.end(idle);
        }
        let changes = cc_data.iter().filter_map(|triplet| self.screen.read(*triplet));
        let Some(change) = changes.max() else { return };
        self.last_data = at;
        if change != Change::None {
            let (text, line) = self.screen.text();
            self.timeline.show(at, text, line, change == Change::Text);
        }
    }

    /// Ends a recording at `at`, in milliseconds: the next picture begins with an empty screen.
    pub fn cut(&mut self, at: i64) {
        self.timeline.end(at.min(self.last_data.saturating_add(IDLE_MS_MAX)));
        self.screen = Screen::new(self.channel);
    }

    /// The cues within `window`, as a text track.
    ///
    /// # Errors
    /// If no cue was found, too many were found, or the budget's time is over.
    pub fn finish(
        mut self,
        budget: &mut ParseBudget<'_>,
        window: Window,
    ) -> Result<Captions, CaptionError> {
        self.timeline.end(self.last_data.saturating_add(IDLE_MS_MAX));
        let mut cues = Vec::new();
        for shown in self.timeline.take() {
            let text = markup::clean(&shown.text, budget)?;
            let settings = shown.line.map(|line| format!("line:{line}%")).unwrap_or_default();
            let origin = shown.start.saturating_sub(window.origin).max(0);
            let end = shown.end.saturating_sub(window.origin).max(0);
            let (start, end) = (origin.unsigned_abs(), end.unsigned_abs());
            push(&mut cues, Cue { start, end, settings, text }, 0)?;
        }
        Captions::of_cues(cues, Window { origin: 0, ..window })
    }
}

/// Finds the channels that contain text.
#[derive(Default)]
pub struct Census {
    line21: Vec<Line21>,
    packets: Packets,
    services: BTreeMap<u8, Service>,
}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").finish_non_exhaustive()
    }
}

impl Census {
    /// Reads the `cc_data` of one picture.
    pub fn picture(&mut self, cc_data: &[[u8; 3]]) {
        if self.line21.is_empty() {
            self.line21 = (1..=LINE21_CHANNELS).map(Line21::new).collect();
        }
        for triplet in cc_data {
            for line21 in &mut self.line21 {
                line21.read(*triplet);
            }
            let Some(packet) = self.packets.read(*triplet) else { continue };
            for (number, block) in dtvcc::blocks(&packet) {
                let service = self.services.entry(number).or_insert_with(|| Service::new(number));
                service.read(block);
            }
        }
    }

    /// Clears the screens, as when another part of the video follows.
    pub fn cut(&mut self) {
        self.line21.iter_mut().for_each(Line21::restart);
        self.packets = Packets::default();
        self.services.values_mut().for_each(Service::erase);
    }

    /// The channels that contained text so far, those of CEA-608 first.
    pub fn channels(&self) -> Vec<Channel> {
        let line21 = self.line21.iter().filter(|line21| line21.has_text());
        let services = self.services.values().filter(|service| service.has_text());
        line21
            .map(|line21| Channel::Line21(line21.number()))
            .chain(services.map(|service| Channel::Service(service.number)))
            .collect()
    }
}
