"""Runs a glue-connect job beside a Spark driver: the script of EMR Serverless job runs and of Glue jobs.

It starts Spark's driver with a Spark Connect server in it, for this host only and behind a random token, and Node with the
bundled job beside it. What Node writes to stdout and stderr is the job run's log; its exit code is the job run's; its report
goes to S3. A signal is passed on to Node, and neither side outlives the other.

    spark-submit launcher.py --glue_connect_bundle s3://.../job.mjs --glue_connect_node s3://.../node.tgz \
        [--glue_connect_report s3://.../report.json] --JOB_NAME nightly ...

Everything else is the job's own arguments. Python 3.9 and later, nothing but PySpark.
"""

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading

OWN = ("bundle", "node", "region", "report")
# Enough for Node to stop Spark's query and to roll back; the services kill soon after.
GRACE_SECONDS = 60
PR_SET_PDEATHSIG = 1


def split_arguments(argv):
    """Ours, by name, and the job's."""
    ours, jobs = {}, []
    rest = iter(argv)
    for token in rest:
        name, equals, value = token.partition("=")
        if name.startswith("--glue_connect_") and name[len("--glue_connect_"):] in OWN:
            ours[name[len("--glue_connect_"):]] = value if equals else next(rest, "")
        else:
            jobs.append(token)
    return ours, jobs


def fail(message):
    print(f"glue-connect launcher: {message}", file=sys.stderr, flush=True)
    sys.exit(66)


def start_spark(token):
    """A driver whose Spark Connect server answers this host only, to those who know the token."""
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    SparkContext._ensure_initialized()
    jvm = SparkContext._jvm
    # Not a Spark setting: those are listed in the UI and to every client. The JVM is older than this script, so that its
    # environment can't be changed any more.
    jvm.java.lang.System.setProperty("GLUE_CONNECT_SPARK_TOKEN", token)
    conf = SparkConf()
    plugins = [p for p in conf.get("spark.plugins", "").split(",") if p]
    conf.set("spark.plugins", ",".join([*plugins, "org.apache.spark.sql.connect.SparkConnectPlugin"]))
    conf.set("spark.connect.grpc.binding.port", "0")
    conf.set("spark.connect.grpc.interceptor.classes", "io.glueconnect.spark.AccessInterceptor")
    context = SparkContext.getOrCreate(conf)
    # The server makes its clients' sessions out of the driver's own.
    SparkSession(context)
    # A Scala object: its instance is the field MODULE$ of a class whose name ends with a dollar sign.
    service = getattr(getattr(jvm.org.apache.spark.sql.connect.service, "SparkConnectService$"), "MODULE$")
    # The server has read it, and nobody else is to.
    jvm.java.lang.System.clearProperty("GLUE_CONNECT_SPARK_TOKEN")
    return context, service.localPort()


def fetch(context, uri, folder):
    """Copies a file here with the file systems that Spark knows: s3:// on AWS, file:// anywhere."""
    jvm = context._jvm
    source = jvm.org.apache.hadoop.fs.Path(uri)
    target = os.path.join(folder, uri.rsplit("/", 1)[-1])
    try:
        file_system = source.getFileSystem(context._jsc.hadoopConfiguration())
        file_system.copyToLocalFile(False, source, jvm.org.apache.hadoop.fs.Path(f"file://{target}"), True)
    except Exception as error:
        cause = getattr(error, "java_exception", error)
        fail(
            f"{uri} can't be fetched: {cause}. What to do: check that the job's role may read it (s3:GetObject, s3:ListBucket, "
            "kms:Decrypt), and that it is there; `glue-connect submit` uploads what is not"
        )
    return target


def report_uri(uri, jobs, context):
    """A folder is for the reports of many runs, each under its id: Glue says it, and Spark's application is as unique."""
    if not uri.endswith("/"):
        return uri
    pairs = zip(jobs, jobs[1:])
    run = next((value for name, value in pairs if name == "--JOB_RUN_ID"), None)
    return f"{uri}{run or context.applicationId}.json"


def deliver(context, file, uri):
    jvm = context._jvm
    target = jvm.org.apache.hadoop.fs.Path(uri)
    file_system = target.getFileSystem(context._jsc.hadoopConfiguration())
    file_system.copyFromLocalFile(False, True, jvm.org.apache.hadoop.fs.Path(f"file://{file}"), target)


def node_from(archive, folder):
    """The node inside of an archive: bin/node at any depth, as Node's own archives and npm's have it."""
    with tarfile.open(archive) as tar:
        member = next((m for m in tar if m.isfile() and ("/" + m.name).endswith("/bin/node")), None)
        if member is None:
            fail(f"there is no bin/node in {archive}")
        target = os.path.join(folder, "node")
        with tar.extractfile(member) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
    os.chmod(target, 0o755)
    return target


def die_with_parent():
    """Runs in the child before Node does: Linux ends it when this process dies, even by SIGKILL."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        pass


class Child:
    """Node, and what ends it."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(command, env=env, preexec_fn=die_with_parent)
        self.stopping = False

    def stop(self, why):
        if self.stopping or self.process.poll() is not None:
            return
        self.stopping = True
        print(f"glue-connect launcher: {why}; the job is told to stop", file=sys.stderr, flush=True)
        self.process.send_signal(signal.SIGTERM)
        killer = threading.Timer(GRACE_SECONDS, self.process.kill)
        killer.daemon = True
        killer.start()

    def wait(self):
        """Also watches the JVM, which started this script: when it dies, nobody would tell us."""
        parent = os.getppid()
        while True:
            try:
                return self.process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if os.getppid() != parent:
                    self.stop("Spark's driver has ended")


def main():
    ours, arguments = split_arguments(sys.argv[1:])
    if not ours.get("bundle"):
        fail("--glue_connect_bundle is missing; `glue-connect submit` sets it")
    token = secrets.token_urlsafe(32)
    context, port = start_spark(token)
    folder = tempfile.mkdtemp(prefix="glue-connect-")
    code = 1
    try:
        bundle = fetch(context, ours["bundle"], folder)
        if ours.get("node"):
            node = node_from(fetch(context, ours["node"], folder), folder)
        else:
            node = shutil.which("node") or fail("there is no node on the PATH, and --glue_connect_node names none")
        report = os.path.join(folder, "report.json")
        env = {
            **os.environ,
            "SPARK_REMOTE": f"sc://127.0.0.1:{port}/;use_ssl=false;token={token}",
            "GLUE_CONNECT_REPORT_FILE": report,
        }
        if ours.get("region"):
            env.setdefault("AWS_REGION", ours["region"])
        child = Child([node, "--enable-source-maps", bundle, *arguments], env)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: child.stop(f"got {signal.Signals(received).name}"))
        code = child.wait()
        if ours.get("report") and os.path.exists(report):
            try:
                uri = report_uri(ours["report"], arguments, context)
                deliver(context, report, uri)
                print(f"glue-connect launcher: the report is {uri}", file=sys.stderr, flush=True)
            except Exception as error:  # The job's outcome counts, not that of its report.
                print(f"glue-connect launcher: the report could not be written: {error}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if code < 0:
        print(f"glue-connect launcher: node was ended by {signal.Signals(-code).name}", file=sys.stderr, flush=True)
        code = 128 - code
    try:
        context.stop()
    except Exception:  # The JVM may be gone, and the job was done before.
        pass
    sys.stdout.flush()
    if code != 0:
        sys.exit(code)


if __name__ == "__main__":
    main()
