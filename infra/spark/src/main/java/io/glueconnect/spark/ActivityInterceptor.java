package io.glueconnect.spark;

import java.util.concurrent.atomic.AtomicBoolean;
import org.sparkproject.connect.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import org.sparkproject.connect.grpc.Metadata;
import org.sparkproject.connect.grpc.ServerCall;
import org.sparkproject.connect.grpc.ServerCallHandler;
import org.sparkproject.connect.grpc.ServerInterceptor;
import org.sparkproject.connect.grpc.Status;

/** Counts the calls under way, so that {@link Lifecycle} knows when nobody needs the server any more. */
public final class ActivityInterceptor implements ServerInterceptor {
  private final Activity activity = new Activity();

  /** Spark calls this one, once, while it builds its server: the moment to begin watching it. */
  public ActivityInterceptor() {
    new Lifecycle(activity).start();
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    if (!activity.begin()) {
      // UNAVAILABLE is what clients try again, by then on a server that was started afresh.
      call.close(Status.UNAVAILABLE.withDescription("This local Spark server is stopping"), new Metadata());
      return new ServerCall.Listener<Q>() {};
    }
    AtomicBoolean ended = new AtomicBoolean();
    Runnable end = () -> {
      if (ended.compareAndSet(false, true)) activity.end();
    };
    try {
      // Exactly one of onComplete and onCancel ends a call, however it went.
      return new SimpleForwardingServerCallListener<Q>(next.startCall(call, headers)) {
        @Override
        public void onComplete() {
          end.run();
          super.onComplete();
        }

        @Override
        public void onCancel() {
          end.run();
          super.onCancel();
        }
      };
    } catch (RuntimeException | Error failure) {
      end.run();
      throw failure;
    }
  }
}
