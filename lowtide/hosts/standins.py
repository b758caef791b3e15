"""The commands of an instance that are stand-ins here, and nothing else is: what would touch the machine itself.

systemctl                really supervises units, for the few settings that a worker's unit has
shutdown, poweroff, …    end the instance, at once or after minutes
useradd                  really adds the user where the instance has an /etc/passwd and user ids of its own, else fails
docker                   runs a container's command as a process (container_engine.py says what is true of it), on every
                         instance, so that none ever asks an engine of this machine for something
nvidia-smi               lists the instance type's GPUs; missing where it has none
python3                  the interpreter that runs the local AWS
runuser                  notes what it was to run: with it a boot script runs what an owner added, which no one asked
                         this machine to run; the scripts stay in the instance's user data
iptables                 keeps rules, which the instance's metadata service obeys: it answers no user that one rejects
the rest (`SILENT`)      do nothing and succeed, and are noted in `commands.log`
"""

import shutil
from pathlib import Path
from string import Template

from lowtide.hosts import container_engine

SILENT = (
    "dnf",
    "yum",
    "apt-get",
    "ip6tables",
    "nft",
    "ip",
    "sysctl",
    "mount",
    "umount",
    "modprobe",
    "groupadd",
    "usermod",
    "loginctl",
    "timedatectl",
    "hostnamectl",
    "runuser",
)
POWER = ("shutdown", "poweroff", "halt", "reboot")

_SILENT = """#!/bin/sh
echo "${0##*/} $$*" >> $machine/commands.log
"""

_IPTABLES = """#!/bin/sh
# iptables -C | -I | -A | -D RULE: the rules, one a line, as they were given.
verb=$$1
shift
rules=$machine/run/iptables
touch "$$rules"
case "$$verb" in
  -C) grep -qxF -e "$$*" "$$rules" ;;
  -I | -A) echo "$$*" >> "$$rules" ;;
  -D) grep -vxF -e "$$*" "$$rules" > "$$rules.new"; mv "$$rules.new" "$$rules" ;;
esac
"""

_TIMER = """#!/bin/sh
# lowtide-timer NAME SECONDS COMMAND...: ended by ending the process whose id is in NAME.pid.
echo $$$$ > "$machine/run/$$1.pid"
sleep "$$2"
shift 2
exec "$$@"
"""

_SHUTDOWN = """#!/bin/sh
# shutdown [-h|-P|-r] now | +MINUTES | -c; poweroff, halt and reboot are `now`: each of them ends the instance here.
when=now
[ "$${0##*/}" = shutdown ] && when=+1
for argument; do
  case "$$argument" in
    -c) when=cancel ;;
    now | +[0-9]* | [0-9]*) when=$$argument ;;
  esac
done
timer=$machine/run/shutdown.pid
cancel() {
  [ ! -f "$$timer" ] || kill "$$(cat "$$timer")" 2> /dev/null
  rm -f "$$timer"
}
case "$$when" in
  cancel) cancel ;;
  now | +0) kill -TERM "$$(cat $machine/run/init.pid)" ;;
  *)
    cancel
    $machine/bin/lowtide-timer shutdown $$(($${when#+} * 60)) $machine/bin/poweroff > /dev/null 2>&1 < /dev/null &
    ;;
esac
exit 0
"""

_SYSTEMCTL = """#!/bin/sh
# systemctl enable [--now] | start | restart | stop | disable | is-active UNIT, daemon-reload, poweroff | halt | reboot.
verb= now=
for argument; do
  case "$$argument" in
    --now) now=1 ;;
    -*) ;;
    *)
      if [ -z "$$verb" ]; then
        verb=$$argument
      else
        unit=$$argument
      fi
      ;;
  esac
done
name=$${unit##*/}
case "$$name" in
  '' | *.service) ;;
  *) name=$$name.service ;;
esac
pid_file=$machine/run/$$name.pid
file=$root/etc/systemd/system/$$name
alive() { [ -f "$$pid_file" ] && kill -0 "$$(cat "$$pid_file")" 2> /dev/null; }
stop() {
  alive || return 0
  kill -TERM "$$(cat "$$pid_file")"
  tries=0
  while alive && [ $$tries -lt 600 ]; do
    sleep 0.1
    tries=$$((tries + 1))
  done
  rm -f "$$pid_file"
}
start() {
  alive && return 0
  [ -e "$$file" ] || { echo "Failed to start $$name: Unit $$name not found." >&2; exit 5; }
  $$(command -v setsid) $machine/bin/lowtide-supervise "$$file" > /dev/null 2>&1 < /dev/null &
  echo $$! > "$$pid_file"
}
case "$$verb" in
  enable)
    case "$$unit" in /*) [ "$$unit" = "$$file" ] || ln -sf "$$unit" "$$file" ;; esac
    [ -z "$$now" ] || start
    ;;
  start) start ;;
  restart) stop && start ;;
  stop) stop ;;
  is-active) alive && echo active || { echo inactive; exit 3; } ;;
  poweroff | halt | reboot) exec $machine/bin/poweroff ;;
esac
"""

_SUPERVISE = """#!/bin/sh
# What systemd does for one service: runs ExecStart and runs it again (Restart=always) until it is told to stop.
# Of the unit: WorkingDirectory, StateDirectory, Environment, RestartSec. KillMode is the service's own affair.
unit=$$1
value() { sed -n "s/^$$1=//p" "$$unit" | tail -n 1; }
child=
trap 'stopping=1; [ -z "$$child" ] || kill -TERM "$$child" 2> /dev/null' TERM
eval "set -- $$(value ExecStart)"
eval "set -- $$(sed -n 's/^Environment=//p' "$$unit" | tr '\\n' ' ') \\"\\$$@\\""
state=$root/var/lib/$$(value StateDirectory)
mkdir -p "$$state"
cd "$$(value WorkingDirectory)" || exit 200
while [ -z "$$stopping" ]; do
  env -i PATH="$$PATH" LANG=C.UTF-8 STATE_DIRECTORY="$$state" "$$@" >> $machine/console.log 2>&1 &
  child=$$!
  wait "$$child"
  while kill -0 "$$child" 2> /dev/null; do wait "$$child"; done
  [ -n "$$stopping" ] || sleep "$$(value RestartSec)"
done
"""

_DOCKER = """#!/bin/sh
exec $machine/bin/python3 $machine/bin/container_engine.py "$$@"
"""

_USERADD = """#!/bin/sh
for name; do :; done
grep -q "^$$name:" /etc/passwd && exit 9
echo "$$name:x:$uid:$uid::/nonexistent:/bin/false" >> /etc/passwd
echo "$$name:x:$uid:" >> /etc/group
"""

_NO_USERADD = """#!/bin/sh
echo "useradd: this instance shares its users with the machine it runs on" >&2
exit 1
"""

JOB_UID = 64917
"""Of the one user that an instance adds: above every range that Linux distributions hand out, below 65534 (nobody)."""


def write(directory: Path, *, machine: str, root: str, own_users: bool, python: str, gpus: int) -> None:
    """Fills `directory` (to be first on the guest's PATH). `machine` and `root` are paths as the guest sees them."""
    texts = {
        "systemctl": _SYSTEMCTL,
        "lowtide-supervise": _SUPERVISE,
        "lowtide-timer": _TIMER,
        "iptables": _IPTABLES,
        "docker": _DOCKER,
        "useradd": _USERADD if own_users else _NO_USERADD,
        **dict.fromkeys(POWER, _SHUTDOWN),
        **dict.fromkeys(SILENT, _SILENT),
    }
    if gpus:
        lines = "\n".join(f"GPU {index}: stand-in (UUID: GPU-{index:08d})" for index in range(gpus))
        texts["nvidia-smi"] = f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n"
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        script = directory / name
        script.write_text(Template(text).safe_substitute(machine=machine, root=root, uid=JOB_UID))
        script.chmod(0o755)
    shutil.copyfile(container_engine.__file__, directory / "container_engine.py")
    (directory / "python3").symlink_to(python)
