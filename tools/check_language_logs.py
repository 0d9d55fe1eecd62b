"""Checks the wording of log messages for tools/check-language."""

import re

SEVERE = {"warn", "error"}
# Base forms: as the first word of a clause, each makes it a command, unless a statement follows ("purge sent").
VERBS = set(
    """abandon abort accept acquire add admit allow announce answer append apply ask assemble attach authenticate authorize
    become begin bind block bring build bury call cancel carry choose claim clean clear close collect commit compare complete compute
    connect continue convert copy count create cut deadletter decode defer delete deliver deny describe detach discard disconnect
    do drain drop empty encode end enqueue ensure enter erase evict exchange execute exit expire explain export extend
    extract fail fetch fill find finish flush follow forget forward free gather generate get give go grant handle hold
    ignore import init initialize insert install invalidate join keep kill launch lay leave let listen load lock look lose make
    mark measure mend merge migrate mint move notify obtain offer open parse pass pause persist pick post postpone prepare probe
    process produce propagate prove provide publish pull purge push put queue reach read rebuild receive reclaim reconnect
    record recover redeliver redirect refresh refuse register reject release reload remove rename renew repair repeat
    replace reply report request rescue reset resolve restart restore resume retire retry return revoke rewrite roll rotate
    run save scan schedule seal select send serve set settle shake share show shut sign skip sleep spawn start stop store
    stream strip submit subscribe suspend sweep switch take tell terminate throw touch transcode trim truncate try turn
    unlock unpack update upgrade upload use validate verify wait wake watch withdraw write yield""".split()
)
STATE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|does|did|do|must|cannot|can|could|will|not|differs?|ran)\b"
    r"|\b(?:\w+ed|sent|lost|left|gone|kept|found|broken|given|taken|begun|done|written|forgotten|full|late|unavailable|unreachable|missing|down"
    r"|ready|empty)(?=$|\s+(?:in|by|of|for|on|to|at|out|up|with|without|from|again|because|until|after|before)\b)",
    re.IGNORECASE,
)
EVENT = re.compile(
    r"^failed to |\b(?:\w+ed|\w+ing|is|are|was|were|has|have|had|cannot|not|no|sent|lost|left|gone|kept|found|broken|given|taken"
    r"|begun|done|forgotten|written|full|late|missing|down|ready|again|ran|up|(?:un)?available|unreachable|differs?)\b",
    re.IGNORECASE,
)
DETERMINER = re.compile(r"(?:a|an|the|its|their|another|every|all|for|out|up|off|into|over)\b", re.IGNORECASE)
PROBLEM = re.compile(
    r"^failed to |(?:^|[,;:] )\w+ing\b|\b(?:fail(?:s|ed|ure|ures|ing)?|cannot|could not|unable|lost|left|unavailable|unreachable"
    r"|invalid|missing|panicked|corrupt|broken|not|no|nor|timed out|ran out|gone|full|differs?|unknown|unexpected|unsupported"
    r"|without|still|late|slow|died|g[ai]ven? up|reject(?:s|ed)|refus(?:es|ed)|dropp?(?:s|ed)|closed|stopped|killed|ended|expired"
    r"|exceed(?:s|ed)|abort(?:s|ed)|abandoned|cancell?ed|interrupted|disconnected|disabled|skipped|discarded|ignor(?:es|ed)"
    r"|postponed|delayed|too (?:slow|large|long|many|little|late|old)|truncated|stalled|restarted|denied|unreadable|overdue|insecure|deprecated|conflicts?|mismatch(?:es)?)\b",
    re.IGNORECASE,
)


def is_imperative(clause):
    """Whether a clause of a log message is a command: "extend leases"."""
    first, _, rest = clause.strip().partition(" ")
    if first.lower() not in VERBS:
        return False
    return bool(DETERMINER.match(rest)) or not STATE.search(rest)


def log_fault(level, message):
    """Returns why a log message breaks the rule, or None."""
    if any(is_imperative(clause) for clause in re.split("[,;:] ", message)):
        return "bare imperative"
    if level in SEVERE and not PROBLEM.search(message):
        return "does not read as a problem"
    if not EVENT.search(message):
        return "says neither what happened nor what is going on"
    return None
