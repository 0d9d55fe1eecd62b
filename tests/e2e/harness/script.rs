//! Shell scripts that stand in for ffmpeg (`STREAMING_FFMPEG`): the real one, made slow or made to
//! write damaged files. Replaced atomically, so that a test decides when ffmpeg behaves again.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What the stand-in does beside running ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Nothing.
    Honest,
    /// Waits this many seconds before every encode.
    Slow(u32),
    /// Cuts the last third off every file that it wrote, and ends with success.
    Truncate,
    /// Inverts one byte in the middle of every file that it wrote, and ends with success.
    Flip,
}

/// A stand-in at a fixed path.
pub(crate) struct Ffmpeg {
    path: PathBuf,
}

impl Ffmpeg {
    /// Makes the script in a folder of its own below `dir`: the sandbox lets ffmpeg read the whole
    /// folder that its program lies in.
    pub(crate) fn new(dir: &Path, behaviour: Behaviour) -> Self {
        let dir = dir.join("stand-in");
        fs::create_dir(&dir).expect("make folder");
        let script = Self { path: dir.join("ffmpeg") };
        script.set(behaviour);
        script
    }

    /// For `STREAMING_FFMPEG`.
    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8 path")
    }

    /// Changes what the next run does; runs under way keep theirs.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        let draft = self.path.with_extension("draft");
        fs::write(&draft, text(behaviour)).expect("write script");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("make executable");
        fs::rename(&draft, &self.path).expect("replace script");
    }
}

fn text(behaviour: Behaviour) -> String {
    let act = match behaviour {
        Behaviour::Honest => "exec ffmpeg \"$@\"".to_owned(),
        // Only encodes have an input; questions about encoders are answered at once.
        Behaviour::Slow(seconds) => {
            format!("[[ \" $* \" == *' -i '* ]] && sleep {seconds}\nexec ffmpeg \"$@\"")
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

/// Runs ffmpeg, then does `act` to every file that it was told to write. Outputs are plain paths or
/// tee's `[options]path|[options]path`.
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
