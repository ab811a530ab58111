package io.glueconnect.cassandra;

import java.util.concurrent.atomic.AtomicLong;
import org.apache.cassandra.metrics.ClientMetrics;
import org.apache.cassandra.service.CassandraDaemon;

/**
 * The node, and its end when nobody needs it: after the idle time, or when its owner is gone.
 *
 * <p>Environment, because a command line can be read by every user of the machine: GLUE_CONNECT_CASSANDRA_PASSWORD;
 * GLUE_CONNECT_CASSANDRA_IDLE_SECONDS, 0 is never; GLUE_CONNECT_CASSANDRA_OWNER_PID, a process whose end is the node's.
 */
public final class Node {
  private static final long SECOND = 1_000_000_000L;
  private static final AtomicLong LAST_USE = new AtomicLong();
  private static volatile boolean listening;

  private Node() {}

  /** Somebody connected: also those count that came and went between two looks. */
  static void touch() {
    LAST_USE.set(System.nanoTime());
  }

  public static void main(String[] args) {
    long idleNanos = (long) (Double.parseDouble(setting("GLUE_CONNECT_CASSANDRA_IDLE_SECONDS", "0")) * SECOND);
    long owner = Long.parseLong(setting("GLUE_CONNECT_CASSANDRA_OWNER_PID", "0"));
    Thread watch = new Thread(() -> watch(idleNanos, owner), "glue-connect-lifecycle");
    watch.setDaemon(true);
    watch.start();
    CassandraDaemon.main(args);
    touch();
    listening = true;
  }

  private static void watch(long idleNanos, long owner) {
    try {
      while (true) {
        Thread.sleep(500);
        if (owner != 0 && !ProcessHandle.of(owner).map(ProcessHandle::isAlive).orElse(false)) {
          System.err.println("Stopping: the process " + owner + " that it was started for has ended");
          Runtime.getRuntime().halt(0);
        }
        if (idleNanos <= 0 || !listening) continue;
        if (!ClientMetrics.instance.allConnectedClients().isEmpty()) touch();
        if (System.nanoTime() - LAST_USE.get() >= idleNanos) {
          System.err.println("Stopping: nobody used it for " + idleNanos / SECOND + " s");
          exit();
          return;
        }
      }
    } catch (InterruptedException stopping) {
      Thread.currentThread().interrupt();
    }
  }

  /** Lets Cassandra drain in order, but not for ever. */
  private static void exit() {
    Thread force = new Thread(() -> {
      try {
        Thread.sleep(20_000);
      } catch (InterruptedException ignored) {
        // Halting early does no harm: the commit log has everything.
      }
      Runtime.getRuntime().halt(0);
    });
    force.setDaemon(true);
    force.start();
    System.exit(0);
  }

  static String setting(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }
}
