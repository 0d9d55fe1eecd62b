//! Shell scripts that replace ffmpeg (`STREAMING_FFMPEG`): they run the real one, but slowly or
//! with damaged output files. The script is replaced atomically, so that a test decides when ffmpeg
//! works normally again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The change to ffmpeg's behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// No change.
    Unchanged,
    /// Waits this many seconds before every encode.
    Slow(u32),
    /// Waits this many seconds before every encode of this rung, alone or with others.
    SlowRung(&'static str, u32),
    /// Encodes only what begins before this second of the source. The rest waits until this
    /// behaviour is replaced, also in runs that have begun.
    Until(u32),
    /// Holds every encode of this rung, alone or with others, until this behaviour is replaced.
    HoldRung(&'static str),
    /// Fails at once where the arguments contain this text, for example the first frame of a chunk.
    Fail(&'static str),
    /// Cuts the last third off every output file, and exits with success.
    Truncate,
    /// Inverts one byte in the middle of every output file, and exits with success.
    Flip,
}

/// A replacement script at a fixed path.
pub(crate) struct Ffmpeg {
    path: PathBuf,
}

impl Ffmpeg {
    /// Creates the script in a separate folder below `dir`, because the sandbox lets ffmpeg read
    /// the whole folder of its program.
    pub(crate) fn new(dir: &Path, behaviour: Behaviour) -> Self {
        let dir = dir.join("stand-in");
        fs::create_dir(&dir).expect("make folder");
        let script = Self { path: dir.join("ffmpeg") };
        script.set(behaviour);
        script
    }

    /// The value for `STREAMING_FFMPEG`.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8 path")
    }

    /// Changes the behaviour of the next run; current runs keep theirs, except for what they wait
    /// for.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        let hold = match behaviour {
            Behaviour::Until(second) => format!("until {second}\n"),
            Behaviour::HoldRung(rung) => format!("rung {rung}\n"),
            _ => "nothing\n".to_owned(),
        };
        let draft = self.path.with_extension("hold-draft");
        fs::write(&draft, hold).expect("write hold file");
        fs::rename(&draft, self.path.with_extension("hold")).expect("replace hold file");
        let draft = self.path.with_extension("draft");
        fs::write(&draft, text(behaviour)).expect("write script");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("make executable");
        fs::rename(&draft, &self.path).expect("replace script");
    }
}

fn text(behaviour: Behaviour) -> String {
    let act = match behaviour {
        Behaviour::Unchanged => "exec ffmpeg \"$@\"".to_owned(),
        // Only encodes have an input; queries for encoders are not delayed.
        Behaviour::Slow(seconds) => {
            format!("[[ \" $* \" == *' -i '* ]] && sleep {seconds}\nexec ffmpeg \"$@\"")
        }
        Behaviour::SlowRung(rung, seconds) => {
            format!("[[ \" $* \" == *'{rung}.mp4'* ]] && sleep {seconds}\nexec ffmpeg \"$@\"")
        }
        Behaviour::Until(_) | Behaviour::HoldRung(_) => HOLD.to_owned(),
        Behaviour::Fail(text) => {
            format!("[[ \" $* \" == *'{text}'* ]] && exit 1\nexec ffmpeg \"$@\"")
        }
        Behaviour::Truncate => damage("truncate -s $((size * 2 / 3)) \"$file\""),
        Behaviour::Flip => damage(
            "byte=$(od -An -tu1 -j $((size / 2)) -N 1 \"$file\")\n\
             printf \"\\\\x$(printf %x $((255 - byte)))\" |\n\
             dd of=\"$file\" bs=1 seek=$((size / 2)) conv=notrunc status=none",
        ),
    };
    format!("#!/bin/bash\n{act}\n")
}

/// Waits as long as the file `ffmpeg.hold` names a reason. An encode begins at its first `-ss`; without one it
/// begins at 0.
const HOLD: &str = r#"begin=-1 previous=
for word in "$@"; do
[[ $previous == -ss ]] && begin=${word%%.*} && break
previous=$word
done
while read -r kind value < "$0.hold"; do
case $kind in
until) (( begin >= value )) || break ;;
rung) [[ " $* " == *"$value.mp4"* ]] || break ;;
*) break ;;
esac
sleep 0.1
done
exec ffmpeg "$@""#;

/// Runs ffmpeg, then applies `act` to each of its output files. Outputs are plain paths or tee's
/// `[options]path|[options]path`.
fn damage(act: &str) -> String {
    format!(
        "ffmpeg \"$@\"\ncode=$?\n\
         for word in \"$@\"; do\n\
         IFS='|' read -ra parts <<< \"$word\"\n\
         for part in \"${{parts[@]}}\"; do\n\
         file=${{part##*]}}\nfile=${{file#file:}}\n\
         [[ $file == *.mp4 && -f $file && -w $file ]] || continue\n\
         size=$(stat -c %s \"$file\")\n{act}\n\
         done\ndone\nexit $code"
    )
}
