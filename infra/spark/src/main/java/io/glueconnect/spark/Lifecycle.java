package io.glueconnect.spark;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Set;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.connect.service.ExecuteInfo;
import org.apache.spark.sql.connect.service.SparkConnectService;
import org.apache.spark.sql.connect.service.SparkConnectService$;
import scala.collection.Iterator;
import scala.collection.Seq;

/**
 * Says when the server answers, and ends it when nobody needs it: after the idle time, or when its owner is gone.
 *
 * <p>Environment, because a command line can be read by every user of the machine: GLUE_CONNECT_SPARK_READY_FILE gets the port
 * once the server listens (the launcher may have asked for port 0); GLUE_CONNECT_SPARK_IDLE_SECONDS, 0 is never;
 * GLUE_CONNECT_SPARK_OWNER_PID, a process whose end is the server's.
 */
final class Lifecycle {
  private static final long SECOND = 1_000_000_000L;

  /** An operation stays listed for five minutes after its client has gone; these words say that it does nothing any more. */
  private static final Set<String> OVER = Set.of("Finished", "Failed", "Canceled", "Closed");

  private final Activity activity;
  private final String readyFile = Settings.optional("GLUE_CONNECT_SPARK_READY_FILE");
  private final long idleNanos = (long) (Double.parseDouble(Settings.orElse("GLUE_CONNECT_SPARK_IDLE_SECONDS", "0")) * SECOND);
  private final long owner = Long.parseLong(Settings.orElse("GLUE_CONNECT_SPARK_OWNER_PID", "0"));

  Lifecycle(Activity activity) {
    this.activity = activity;
  }

  void start() {
    Thread watch = new Thread(this::watch, "glue-connect-lifecycle");
    watch.setDaemon(true);
    watch.start();
  }

  private void watch() {
    try {
      announce(awaitPort());
      while (true) {
        Thread.sleep(500);
        if (owner != 0 && !ProcessHandle.of(owner).map(ProcessHandle::isAlive).orElse(false)) {
          exit("the process " + owner + " that it was started for has ended");
          return;
        }
        // A client may be dead and its job still running, without any call: that job's rows are wanted.
        if (isExecuting()) activity.touch();
        if (idleNanos > 0 && activity.closeIfIdle(idleNanos)) {
          exit("nobody used it for " + idleNanos / SECOND + " s");
          return;
        }
      }
    } catch (InterruptedException stopping) {
      Thread.currentThread().interrupt();
    } catch (IOException | RuntimeException | LinkageError failure) {
      // A server that can't say where it is, or would never stop, is of no use to anyone.
      failure.printStackTrace();
      exit("its watcher failed");
    }
  }

  private static int awaitPort() throws InterruptedException {
    while (true) {
      try {
        int port = SparkConnectService$.MODULE$.localPort();
        if (port > 0) return port;
      } catch (IllegalStateException | NullPointerException | AssertionError notYet) {
        // The server object appears first and listens a little later.
      }
      Thread.sleep(10);
    }
  }

  private void announce(int port) throws IOException {
    if (readyFile == null) return;
    Path ready = Path.of(readyFile);
    Path half = Path.of(readyFile + ".part");
    Files.write(half, Integer.toString(port).getBytes(StandardCharsets.US_ASCII));
    Files.move(half, ready, StandardCopyOption.ATOMIC_MOVE);
  }

  private static boolean isExecuting() {
    // Scala 2.13's Seq is another, more special one than 2.12's.
    scala.Option<? extends Seq<ExecuteInfo>> operations = SparkConnectService.listActiveExecutions().toOption();
    if (operations.isDefined()) {
      for (Iterator<ExecuteInfo> each = operations.get().iterator(); each.hasNext(); ) {
        if (!OVER.contains(each.next().status().toString())) return true;
      }
    }
    scala.Option<SparkSession> session = SparkSession.getDefaultSession();
    return session.isDefined() && session.get().sparkContext().statusTracker().getActiveJobIds().length > 0;
  }

  /** Lets Spark's own shutdown hooks run, but not for ever. */
  private static void exit(String why) {
    System.err.println("Stopping: " + why);
    Thread force = new Thread(() -> {
      try {
        Thread.sleep(15_000);
      } catch (InterruptedException ignored) {
        // Halting early does no harm here.
      }
      Runtime.getRuntime().halt(0);
    });
    force.setDaemon(true);
    force.start();
    System.exit(0);
  }
}
