package io.glueconnect.spark;

/** The calls under way, and when there last was one. */
final class Activity {
  private int calls;
  private long last = System.nanoTime();
  private boolean closed;

  /** False when the server is stopping: the call must be refused then, and {@link #end} not called. */
  synchronized boolean begin() {
    if (closed) return false;
    calls++;
    last = System.nanoTime();
    return true;
  }

  synchronized void end() {
    calls--;
    last = System.nanoTime();
  }

  /** Something other than a call that shows the server is needed. */
  synchronized void touch() {
    last = System.nanoTime();
  }

  /** Refuses calls from now on when none came for that long; one step, so that no call slips in between. */
  synchronized boolean closeIfIdle(long nanos) {
    if (calls == 0 && System.nanoTime() - last >= nanos) closed = true;
    return closed;
  }
}
