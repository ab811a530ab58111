package io.glueconnect.spark.cassandra;

import java.util.Iterator;

/** Gives its elements at a steady rate, without saving up for a burst. */
final class Paced<T> implements Iterator<T> {
  private final Iterator<T> elements;
  private final double nanosEach;
  private long next = System.nanoTime();

  Paced(Iterator<T> elements, double perSecond) {
    this.elements = elements;
    this.nanosEach = 1e9 / perSecond;
  }

  @Override
  public boolean hasNext() {
    return elements.hasNext();
  }

  @Override
  public T next() {
    long now = System.nanoTime();
    if (next > now) {
      try {
        Thread.sleep((next - now) / 1_000_000, (int) ((next - now) % 1_000_000));
      } catch (InterruptedException stopping) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("The task was cancelled", stopping);
      }
    }
    next = (long) (Math.max(now, next) + nanosEach);
    return elements.next();
  }
}
